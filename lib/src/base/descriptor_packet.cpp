// SPDX-License-Identifier: BSL-1.0
//
// SCM_RIGHTS, see unix(7) and cmsg(3). Runs in any process and thread.

#include "base/descriptor_packet.hpp"

#include "base/syscall.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include <sys/socket.h>

namespace kin::detail {
namespace {

// The message of one packet, and the control message that holds its descriptors.
class Message {
 public:
  // CMSG_LEN and not CMSG_SPACE: what is longer for alignment has room for one descriptor more.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): control_ is filled as far as it is used
  Message(std::byte* bytes, std::size_t size, std::size_t descriptors) noexcept
      : part_{bytes, size} {
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    if (descriptors == 0) return;
    message_.msg_control = control_.data();
    message_.msg_controllen = CMSG_LEN(descriptors * sizeof(int));
  }
  ~Message() = default;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  msghdr* header() noexcept { return &message_; }
  cmsghdr* control() noexcept { return CMSG_FIRSTHDR(&message_); }

 private:
  iovec part_;
  msghdr message_{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(most_descriptors_in_packet * sizeof(int))> control_;
};

}  // namespace

std::pair<UniqueFd, UniqueFd> make_packet_sockets() {
  std::array<int, 2> fds{};
  checked("socketpair", ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()));
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

int send_packet(int socket, std::span<const std::byte> bytes,
                std::span<const int> descriptors) noexcept {
  assert(descriptors.size() <= most_descriptors_in_packet);
  // The kernel only reads it. NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  Message message(const_cast<std::byte*>(bytes.data()), bytes.size(), descriptors.size());
  if (cmsghdr* control = message.control()) {
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(control), descriptors.data(), descriptors.size_bytes());
  }
  const auto sent = retry_interrupted(
      [&] { return ::sendmsg(socket, message.header(), MSG_DONTWAIT | MSG_NOSIGNAL); });
  return sent == -1 ? errno : 0;
}

int receive_packet(int socket, std::span<std::byte> bytes, int flags,
                   std::span<UniqueFd> room) noexcept {
  Message message(bytes.data(), bytes.size(), std::min(room.size(), most_descriptors_in_packet));
  const auto size = retry_interrupted(
      [&] { return ::recvmsg(socket, message.header(), flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
  if (size == -1) return errno;
  for (cmsghdr* one = message.control(); one != nullptr; one = CMSG_NXTHDR(message.header(), one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(one) + i * sizeof(int), sizeof(int));
      room[i].reset(fd);
    }
  }
  return static_cast<std::size_t>(size) == bytes.size() ? 0 : ENODATA;
}

}  // namespace kin::detail
