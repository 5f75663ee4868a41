// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace kin::detail {

/// A queue of packets in the kernel, with one descriptor each, that all kin share: a socket pair.
/// Any packet can be looked at where it is; only the front one can be taken out.
///
/// One thread of the family at a time uses it, under the lock of the descriptor store. Nothing waits.
/// After fork: the child has both ends of the same queue. After exec: both are closed.
/// If a process dies: the queue is as it was before or behind the system call.
class DescriptorQueue {
 public:
  struct Packet {
    std::uint64_t id = 0;
    std::uint64_t seat = 0;
  };
  struct Found {
    Packet packet;
    UniqueFd descriptor;  // empty where this process can't open it
  };
  class Scan;

  /// Makes it, before there are kin; tells how many packets it has room for. Where no sockets can be
  /// had that is none, and require_usable() says why.
  static std::size_t open() noexcept;

  /// Whether this process still has both ends. The application may have closed them, as daemonizing
  /// code does, and have something else by those numbers.
  static bool is_usable() noexcept;
  /// Throws SystemError where it isn't.
  static void require_usable();

  /// Puts a packet at the back; returns 0 or the error number, EAGAIN when there is no room.
  static int push(const Packet& packet, const UniqueFd& descriptor) noexcept;
  /// The packet at a position, with a duplicate of its descriptor.
  static Found peek(std::size_t position) noexcept;
  /// Takes out the front packet.
  static void pop() noexcept;
};

/// The packets from the front on, one after the other. Takes none and opens nothing. One at a time, and
/// no peek() in between.
class DescriptorQueue::Scan {
 public:
  Scan() noexcept;
  std::optional<Packet> next() noexcept;
  /// How many next() has returned.
  [[nodiscard]] std::size_t passed() const noexcept { return passed_; }
  /// Whether the last next() met the end, and not an error.
  [[nodiscard]] bool saw_all() const noexcept;

 private:
  std::size_t passed_ = 0;
  int error_ = 0;
};

}  // namespace kin::detail
