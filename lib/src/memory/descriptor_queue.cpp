// SPDX-License-Identifier: BSL-1.0
//
// SO_PEEK_OFF, see socket(7): a peek reads at that offset, which grows by what was read. All packets
// have one length, so an offset names a packet. The offset belongs to the socket that all share, and so
// whoever peeks sets it anew.

#include "memory/descriptor_queue.hpp"

#include "base/descriptor_packet.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace kin::detail {
namespace {

using Packet = DescriptorQueue::Packet;

// More than anybody has room for.
constexpr std::size_t most_packets = 1 << 20;

struct End {
  int fd = -1;
  std::uint64_t cookie = 0;  // the kernel's name for the socket, never used twice
};

// Set with the arena, inherited by all kin. They live as long as the process.
End back;
End front;
int why_none = 0;

std::uint64_t cookie_of(int fd) noexcept {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool is_ours(const End& end) noexcept { return end.fd != -1 && cookie_of(end.fd) == end.cookie; }

End keep(UniqueFd fd) {
  fd = away_from_stdio(std::move(fd));
  const std::uint64_t cookie = cookie_of(fd.get());
  return {fd.release(), cookie};
}

void seek(std::size_t position) noexcept {
  const int offset = static_cast<int>(std::min(position, most_packets) * sizeof(Packet));
  retry_interrupted(
      [&] { return ::setsockopt(front.fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset); });
}

void make_ends() {
  auto [one, other] = make_packet_sockets();
  const int bytes = 1 << 20;
  if (::setsockopt(one.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
    ::setsockopt(one.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);  // as far as allowed
  }
  back = keep(std::move(one));
  front = keep(std::move(other));
}

// By what the first packet takes of the socket's buffer. Throws where the kernel is something that only
// resembles Linux.
std::size_t packets_that_fit() {
  const int none = 0;
  checked("setsockopt", ::setsockopt(front.fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof none));
  int limit = 0;
  socklen_t size = sizeof limit;
  checked("getsockopt", ::getsockopt(back.fd, SOL_SOCKET, SO_SNDBUF, &limit, &size));
  const Packet packet;
  send_packet(back.fd, bytes_of(packet), {});
  int of_one = 0;
  checked("ioctl", ::ioctl(back.fd, SIOCOUTQ, &of_one));
  DescriptorQueue::pop();
  if (of_one <= 0 || limit / of_one < 2) throw SystemError("sendmsg", EOPNOTSUPP);
  return std::min(static_cast<std::size_t>(limit / of_one), most_packets);
}

}  // namespace

std::size_t DescriptorQueue::open() noexcept {
  try {
    make_ends();
    return packets_that_fit();
  } catch (const SystemError& error) {
    why_none = error.code().value();
    return 0;
  }
}

bool DescriptorQueue::is_usable() noexcept { return is_ours(back) && is_ours(front); }

void DescriptorQueue::require_usable() {
  if (why_none != 0) throw SystemError("socketpair", why_none);
  if (!is_usable()) {
    throw SystemError("the sockets that kin keeps for descriptors in messages were closed", EBADF);
  }
}

int DescriptorQueue::push(const Packet& packet, const UniqueFd& descriptor) noexcept {
  const int fd = descriptor.get();
  return send_packet(back.fd, bytes_of(packet), std::span(&fd, 1));
}

DescriptorQueue::Found DescriptorQueue::peek(std::size_t position) noexcept {
  Found found;
  seek(position);
  receive_packet(front.fd, bytes_of(found.packet), MSG_PEEK, std::span(&found.descriptor, 1));
  return found;
}

void DescriptorQueue::pop() noexcept {
  Packet packet;
  receive_packet(front.fd, bytes_of(packet), 0);
}

DescriptorQueue::Scan::Scan() noexcept { seek(0); }

std::optional<Packet> DescriptorQueue::Scan::next() noexcept {
  Packet packet;
  error_ = receive_packet(front.fd, bytes_of(packet), MSG_PEEK);
  if (error_ != 0) return std::nullopt;
  ++passed_;
  return packet;
}

bool DescriptorQueue::Scan::saw_all() const noexcept { return error_ == EAGAIN; }

}  // namespace kin::detail
