// SPDX-License-Identifier: BSL-1.0

#include "base/descriptor_packet.hpp"

#include "frame.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

using kin::UniqueFd;
using kin::detail::bytes_of;
using kin::detail::make_packet_sockets;
using kin::detail::receive_packet;
using kin::detail::send_packet;

namespace {

constexpr std::uint64_t word = 42;
const std::array standard{0, 1, 2};

}  // namespace

TEST_SUITE("descriptor_packet") {
  TEST_CASE_FIXTURE(unit::Frame, "bytes and descriptors arrive; peeking leaves them there") {
    const auto [in, out] = make_packet_sockets();
    REQUIRE(send_packet(in.get(), bytes_of(word), standard) == 0);
    for (const int flags : std::array<int, 2>{MSG_PEEK, 0}) {
      std::uint64_t arrived = 0;
      std::array<UniqueFd, 3> room;
      REQUIRE(receive_packet(out.get(), bytes_of(arrived), flags, room) == 0);
      CHECK(arrived == word);
      for (const UniqueFd& one : room) CHECK(::fcntl(one.get(), F_GETFD) == FD_CLOEXEC);
    }
    std::uint64_t more = 0;
    CHECK(receive_packet(out.get(), bytes_of(more), 0) == EAGAIN);
  }

  TEST_CASE_FIXTURE(unit::Frame, "descriptors for which there is no room are closed") {
    const auto [in, out] = make_packet_sockets();
    for (std::size_t places = 0; places <= 4; ++places) {
      REQUIRE(send_packet(in.get(), bytes_of(word), standard) == 0);
      std::uint64_t arrived = 0;
      std::vector<UniqueFd> room(places);
      const int before = support::open_descriptors();
      REQUIRE(receive_packet(out.get(), bytes_of(arrived), 0, room) == 0);
      const int filled = static_cast<int>(std::min<std::size_t>(places, 3));
      CHECK(support::open_descriptors() == before + filled);
      for (std::size_t i = 0; i < places; ++i) CHECK(bool(room[i]) == (i < 3));
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "what is wrong is told by number") {
    auto [in, out] = make_packet_sockets();
    CHECK(send_packet(in.get(), bytes_of(word), std::array{-1}) == EBADF);
    const std::uint32_t half = 1;
    REQUIRE(send_packet(in.get(), bytes_of(half), {}) == 0);
    std::uint64_t arrived = 0;
    CHECK(receive_packet(out.get(), bytes_of(arrived), 0) == ENODATA);
    in.reset();
    CHECK(receive_packet(out.get(), bytes_of(arrived), 0) == ENODATA);
    CHECK(send_packet(out.get(), bytes_of(word), {}) == EPIPE);  // and no SIGPIPE
  }
}
