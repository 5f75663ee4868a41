// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "manager/manager_state.hpp"

#include <cstdint>
#include <memory>

namespace kin::detail {

/// This process's claims on what a manager's clients use; one for all of its threads.
struct ServerLink {
  Stamp server = 0;
  std::shared_ptr<Claim> state_claim;
  std::shared_ptr<Claim> requests_claim;

  [[nodiscard]] ManagerState& state() const noexcept {
    return static_cast<ManagerState&>(state_claim->object());
  }
  [[nodiscard]] ByteChannel& requests() const noexcept {
    return static_cast<ByteChannel&>(requests_claim->object());
  }
};

/// Throws ManagerDied if the server died so long ago that nothing of it is left.
std::shared_ptr<ServerLink> link_to(const HostedObject& hosted);
/// This thread needs none any more: of a manager that was shut down.
void forget_link(Stamp server) noexcept;
/// Nor does this process, for calls that nobody waits for yet.
void forget_async_lines(Stamp server) noexcept;

/// A line of this process, as the thread that calls has it.
struct ThreadLine {
  Stamp server = 0;
  CallLine* line = nullptr;
  std::shared_ptr<ServerLink> link;
  std::uint32_t index = 0;
  std::uint32_t sequence = 0;  // of the last call
  bool is_busy = false;        // between a call and the end of its reading
};

/// One that is free, and busy from now on. Throws ManagerDied, std::bad_alloc.
ThreadLine& take_thread_line(const HostedObject& hosted);
/// When its call is over, and its answer was read.
void give_back(ThreadLine& line) noexcept;
/// The server is dead: nobody will use it again.
void drop(ThreadLine& line) noexcept;

/// Sends a request, with the head in front of `message`. Throws QueueShutDown, std::bad_alloc.
void send_request(ThreadLine& own, const HostedObject& object, HostedCode code,
                  std::span<std::byte> message, const OutgoingCargo& cargo, std::uint32_t flags,
                  std::uint32_t limit = 0);
/// For a call that nobody will ask for: its object stays until it was made.
void send_along(const ThreadLine& own, const Handle& hosted) noexcept;
/// Of a call that was parked, and that its client has set idle.
void tell_of_withdrawal(const ThreadLine& own, const HostedObject& object) noexcept;
/// The bytes of an answer that is there.
[[nodiscard]] std::span<const std::byte> answer_in(const CallLine& line) noexcept;
/// The answer was read, or is not wanted: the line is idle.
void settle(CallLine& line) noexcept;

/// A new line of this process's, for the thread or the call that asks, of the first `most`. Throws ManagerDied,
/// std::bad_alloc.
std::unique_ptr<ThreadLine> make_line(const HostedObject& hosted,
                                      std::uint32_t most = ManagerState::most_lines);

[[noreturn]] void complain_server_died(const ManagerState& manager);

}  // namespace kin::detail
