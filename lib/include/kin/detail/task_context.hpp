// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/cargo.hpp>
#include <kin/detail/export.hpp>

#include <cstddef>
#include <exception>
#include <span>

namespace kin::detail {

struct TaskSlot;
class OutArchive;
class InArchive;

/// A task as the code that runs it in a worker sees it: bytes in, bytes out.
class KIN_EXPORT TaskContext {
 public:
  explicit TaskContext(TaskSlot& slot) noexcept;

  [[nodiscard]] std::span<const std::byte> arguments() const noexcept;
  /// What came with them; its own copies of the descriptors.
  void claim_cargo(IncomingCargo& cargo) const;
  /// What many tasks share: the arguments of a task that is held, whose address came with the arguments.
  [[nodiscard]] static TaskContext shared(void* address) noexcept;
  [[nodiscard]] void* address() const noexcept { return &slot_; }

  /// The result. Once.
  void give(std::span<const std::byte> bytes, const OutgoingCargo& cargo);
  /// Room for a result that is written where it stands. What a worker before this one left there is
  /// there.
  [[nodiscard]] std::byte* make_result(std::size_t size);
  /// A task that forks may return in both processes. The copy is no worker, and ends here: before it
  /// writes where a result stands, which may be another task's by then.
  void leave_if_copy() const noexcept {
    if (fork_depth_ != runs_at_) leave();
  }
  /// From here on what goes wrong is the result's fault.
  void begin_giving() noexcept { gives_ = true; }
  [[nodiscard]] bool gives() const noexcept { return gives_; }

  /// Of a chunk: how many items were done before, by a worker that died; and that one more is.
  [[nodiscard]] std::size_t progress() const noexcept;
  void next_item(std::size_t done) noexcept;
  /// Whether next_item() has to be called: since each item has a limit, or also for the progress.
  [[nodiscard]] bool has_limits() const noexcept;
  [[nodiscard]] bool keeps_progress() const noexcept;

 private:
  [[noreturn]] static void leave() noexcept;

  TaskSlot& slot_;
  const int& fork_depth_;  // this process's
  int runs_at_;            // that of the one which began with the task
  bool gives_ = false;
};

/// Of an item of a chunk; see wire/exception.hpp.
KIN_EXPORT void save_exception(OutArchive& out, const std::exception_ptr& exception);
KIN_EXPORT std::exception_ptr load_exception(InArchive& in);

/// Runs a task; a template's instance, whose address is the same in all workers.
using TaskCode = void (*)(TaskContext& context);

}  // namespace kin::detail

namespace kin {

/// In a task: whether its soft limit has passed. It should end soon then; what it still returns counts.
/// From then on calls of kin's throw TimeoutError in the task's thread instead of waiting: at once, or within
/// a quarter of a second where they waited already. Calls that need not wait succeed, so that a task can
/// clean up.
/// After fork: false in a process that the task has forked, which has no limit.
[[nodiscard]] KIN_EXPORT bool stop_requested() noexcept;

}  // namespace kin
