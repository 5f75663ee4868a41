// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "manager/manager_state.hpp"

#include <kin/connection.hpp>
#include <kin/listener.hpp>
#include <kin/process.hpp>

#include <optional>
#include <string>
#include <vector>

namespace kin::detail {

/// The process that lets other programs in to a manager: it listens, and has a session, a child of its own, for
/// each connection.
///
/// If it is killed: its sessions are, too, so who called from outside gets ManagerDied, and what was held there
/// is free. The manager and its family go on, and nobody else can connect. The path of its socket stays, until
/// somebody else listens there.
class Gateway {
 public:
  /// Starts it, and waits until it listens. Throws what Listener throws.
  Gateway(const std::string& name, const ManagerMemory& memory, const ListenerOptions& options);
  /// Ends it, and all sessions.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  /// In a process that merely inherited it: nothing is to be done at the end.
  void forget() noexcept;

 private:
  void live(const ManagerMemory& inherited, const ListenerOptions& options,
            const Connection<std::string>& maker) const;

  std::string name_;
  std::string address_;
  Connection<std::string> own_end_;
  std::optional<Process> process_;
};

}  // namespace kin::detail
