// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "connection/end_state.hpp"

#include <kin/detail/cargo.hpp>
#include <kin/detail/deadline.hpp>

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace kin::detail {

// Connections over a socket: messages are frames (wire/frame), and the kernel has what is on its way. All
// below is for ends that have a `stream`, which is what the processes of a family that have the end share.

Handle make_socket_stream(std::size_t max_message);

/// Whether an error of a socket says that the other side is gone: closed, or not heard of any more by a
/// network that kin asks to look (set_up_tcp()).
[[nodiscard]] bool tells_of_end(int error) noexcept;

/// A message that came.
struct Arrived {
  std::span<const std::byte> bytes;
  std::vector<std::byte>* whole;  // null, or where the bytes are; to be moved from
};
using TakeArrived = FunctionRef<void(const Arrived&)>;

/// As the functions of End.
void send_over(End::State& end, std::span<const std::byte> bytes, const OutgoingCargo& cargo);
/// A message of more than `room` bytes is BufferTooShort, and stays.
bool receive_over(End::State& end, TakeArrived take, Deadline deadline,
                  std::size_t room = std::numeric_limits<std::size_t>::max());
[[nodiscard]] bool poll_over(End::State& end, Deadline deadline);

}  // namespace kin::detail
