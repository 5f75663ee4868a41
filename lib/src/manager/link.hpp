// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "manager/manager_state.hpp"

#include <cstdint>
#include <memory>

namespace kin::detail {

/// This process's claims on what a manager's clients use; one for all of its threads.
struct Connection {
  Stamp server;
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
std::shared_ptr<Connection> connection_to(const HostedObject& hosted);
/// This thread needs none any more: of a manager that was shut down.
void forget_connection(Stamp server) noexcept;

/// A line of this process, as the thread that calls has it.
struct ThreadLine {
  Stamp server;
  CallLine* line;
  std::shared_ptr<Connection> connection;
  std::uint32_t index;
  std::uint32_t sequence;  // of the last call
  bool is_busy = false;    // between a call and the end of its reading
};

/// One that is free, and busy from now on. Throws ManagerDied, std::bad_alloc.
ThreadLine& take_thread_line(const HostedObject& hosted);
/// When its call is over, and its answer was read.
void give_back(ThreadLine& line) noexcept;
/// The server is dead: nobody will use it again.
void drop(ThreadLine& line) noexcept;

[[noreturn]] void complain_server_died(const ManagerState& manager);

}  // namespace kin::detail
