// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/unique_fd.hpp>

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace kin::detail {

/// Packets with descriptors, through AF_UNIX sockets of type SOCK_SEQPACKET. Nothing here waits.

/// How many descriptors the kernel lets a packet have (SCM_MAX_FD).
inline constexpr std::size_t most_descriptors_in_packet = 253;

/// Two ends of a new connection, close-on-exec. Throws SystemError.
std::pair<UniqueFd, UniqueFd> make_packet_sockets();

/// A packet is the bytes of a T.
template <typename T>
auto bytes_of(T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  if constexpr (std::is_const_v<T>) {
    return std::as_bytes(std::span(&value, 1));
  } else {
    return std::as_writable_bytes(std::span(&value, 1));
  }
}

/// Sends a packet; returns 0 or the error number, EAGAIN when there is no room.
int send_packet(int socket, std::span<const std::byte> bytes,
                std::span<const int> descriptors) noexcept;

/// Receives a packet as long as `bytes`; returns 0 or the error number: EAGAIN when there is none,
/// ENODATA when it was shorter. `flags`: MSG_PEEK leaves it there.
/// Of its descriptors, which are close-on-exec here, `room` gets as many as it has places, and as this
/// process may open: after the first empty place are only empty ones. The others are closed.
int receive_packet(int socket, std::span<std::byte> bytes, int flags,
                   std::span<UniqueFd> room = {}) noexcept;

}  // namespace kin::detail
