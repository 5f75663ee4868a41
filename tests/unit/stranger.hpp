// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/random.hpp"
#include "listener/address.hpp"
#include "listener/pending.hpp"
#include "wire/handshake.hpp"

#include "frame.hpp"
#include "support/socket_ends.hpp"

#include <kin/listener.hpp>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>

namespace unit {

/// A client of a listener that is of no family, in any process: it does not know the secret. With the bare
/// socket, for what no client of kin's would do.
class Stranger {
 public:
  explicit Stranger(const std::string& address) {
    using namespace kin::detail;
    const SocketAddress to = find_address(parse_address(address), false).at(0);
    socket_ = kin::UniqueFd(
        checked("socket", ::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    checked("connect", ::connect(socket_.get(), to.get(), to.size));
  }

  [[nodiscard]] int descriptor() const { return socket_.get(); }
  void hang_up() { socket_.reset(); }
  void say(const std::vector<std::byte>& bytes) const {
    CHECK(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
  }
  /// So many bytes, or fewer if the stream ends before.
  [[nodiscard]] std::vector<std::byte> hear(std::size_t size) const {
    std::vector<std::byte> bytes(size);
    const ssize_t count =
        is_readable() ? ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_WAITALL) : 0;
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return bytes;
  }
  /// Whether the listener ends the connection.
  [[nodiscard]] bool is_hung_up_on() const {
    std::byte bytes[1000];
    while (is_readable()) {
      if (::recv(socket_.get(), bytes, sizeof bytes, 0) <= 0) return true;
    }
    return false;
  }

  /// The client's side of the handshake; how it ended.
  kin::detail::Handshake::Failure shake_hands(const std::string& key,
                                              kin::detail::MessageTypes types = {}) const {
    using namespace kin::detail;
    Handshake::Terms terms{.role = Handshake::Role::client,
                           .key = key,
                           .layout = Layout::of_this_program(types.sent, types.received)};
    fill_randomly(terms.nonce);
    Handshake handshake(std::move(terms));
    while (true) {
      CHECK(send_at_once(socket_.get(), handshake));
      if (handshake.state() != Handshake::State::talking) return handshake.failure();
      if (!is_readable() || feed_at_once(socket_.get(), handshake) <= 0) {
        return Handshake::Failure::not_kin;
      }
    }
  }
  /// After that.
  template <typename Out, typename In = Out>
  kin::Connection<Out, In> connection() {
    return kin::Pipe<support::EndMaker, support::EndMaker>::connection<Out, In>(
        support::end_over(std::move(socket_)));
  }

 private:
  [[nodiscard]] bool is_readable() const {
    pollfd about{socket_.get(), POLLIN, 0};
    return ::poll(&about, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) == 1;
  }

  kin::UniqueFd socket_;
};

template <typename Out, typename In = Out>
kin::detail::MessageTypes types() {
  return {kin::detail::mark_of<Out>(), kin::detail::mark_of<In>()};
}

}  // namespace unit
