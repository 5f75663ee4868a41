// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/end.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>
#include <kin/detail/initializer.hpp>
#include <kin/listener.hpp>
#include <kin/process.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace kin::detail {

class Gateway;
struct ManagerMemory;

struct ManagerSettings {
  std::string name;
  Initializer initializer;
  /// For other programs.
  std::optional<ListenerOptions> outside;
  /// To another program's manager; then there is none here.
  std::optional<End> connection;
};

/// Throws what a Client throws.
[[nodiscard]] KIN_EXPORT End connect_to_manager(const std::string& address,
                                                const ClientOptions& options);

/// A manager's server process, as the process that made it has it. See Manager for what each does.
///
/// After fork: parent-only, but for root(). The child's copy does nothing when it is let go of.
class KIN_EXPORT ManagerEngine {
 public:
  explicit ManagerEngine(ManagerSettings settings);
  ~ManagerEngine();
  ManagerEngine(const ManagerEngine&) = delete;
  ManagerEngine& operator=(const ManagerEngine&) = delete;

  void shutdown();
  /// The object that makes the others.
  [[nodiscard]] const Handle& root() const noexcept { return root_; }
  [[nodiscard]] const ProcessHandle& server() const noexcept {
    return *server_;  // NOLINT(bugprone-unchecked-optional-access): since it was started
  }
  /// Where other programs find it; empty if they don't.
  [[nodiscard]] std::string address() const;

 private:
  void start(const std::string& warning, const std::function<void()>& live);
  [[nodiscard]] ManagerMemory settle_in(std::span<const End> kept) const;
  void serve(Initializer& initializer);
  void relay(const End& connection);
  [[nodiscard]] bool is_own_process() const noexcept;
  void end() noexcept;

  std::uint64_t creator_;
  std::string name_;
  std::unique_ptr<ManagerMemory> memory_;
  std::optional<Process> process_;
  std::optional<ProcessHandle> server_;
  std::unique_ptr<Gateway> gateway_;
  Handle root_;
};

}  // namespace kin::detail
