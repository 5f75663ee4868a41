// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>
#include <kin/detail/initializer.hpp>
#include <kin/process.hpp>

#include <memory>
#include <optional>
#include <string>

namespace kin::detail {

struct ManagerMemory;

struct ManagerSettings {
  std::string name;
  Initializer initializer;
};

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

 private:
  void start(ManagerSettings settings);
  void live(Initializer& initializer);
  [[nodiscard]] bool is_own_process() const noexcept;
  void end() noexcept;

  std::uint64_t creator_;
  std::string name_;
  std::unique_ptr<ManagerMemory> memory_;
  std::optional<Process> process_;
  std::optional<ProcessHandle> server_;
  Handle root_;
};

}  // namespace kin::detail
