// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callable.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/initializer.hpp>
#include <kin/detail/task.hpp>
#include <kin/detail/task_context.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

#include <sys/types.h>

namespace kin {
struct PoolStatistics;
}

namespace kin::detail {

class WorkerPool;

struct PoolSettings {
  std::ptrdiff_t workers = 0;
  Initializer initializer;
  std::ptrdiff_t max_tasks = 0;
  std::size_t max_memory = 0;
  std::string name;
};

/// What a task may take; of a chunk, each of its items.
struct TaskLimits {
  std::uint32_t soft = 0;  // milliseconds; 0: no limit
  std::uint32_t hard = 0;
  std::uint32_t retries = 0;
};

/// Worker processes and what they are given to do, as bytes: what Pool and ProcessPoolExecutor are thin
/// over. See Pool for what each does.
///
/// Lifetime: until the pool and the last of its tasks are gone; its processes end with the pool.
/// After fork: parent-only. The child's copy does nothing when it is let go of.
class KIN_EXPORT ProcessEngine : public std::enable_shared_from_this<ProcessEngine> {
 public:
  [[nodiscard]] static std::shared_ptr<ProcessEngine> start(PoolSettings settings);
  explicit ProcessEngine(PoolSettings settings);
  ~ProcessEngine();
  ProcessEngine(const ProcessEngine&) = delete;
  ProcessEngine& operator=(const ProcessEngine&) = delete;

  [[nodiscard]] std::size_t workers() const noexcept;
  /// Refuses a function that would not mean the same in a worker; see check_function().
  template <PortableFunction F>
  void check(const F& function) const {
    check_function(function, images_);
  }

  /// A task that workers do not see yet.
  [[nodiscard]] TaskRef hold(TaskCode code, std::span<const std::byte> arguments,
                             const OutgoingCargo& cargo, const TaskLimits& limits,
                             const std::type_info& function);
  /// Room for that many bytes of arguments of a task that is held.
  [[nodiscard]] std::byte* make_arguments(Task& task, std::size_t size);
  /// The worker reads another task, one that is held, which stays until this one is over.
  static void lend(Task& task, const TaskRef& held) noexcept;
  /// Room for a result whose size is known: then no worker has to look for it.
  void make_result(Task& task, std::size_t size);
  [[nodiscard]] static TaskContext context_of(Task& task) noexcept;
  /// From now on workers see it.
  void queue(Task& task);
  [[nodiscard]] TaskRef submit(TaskCode code, std::span<const std::byte> arguments,
                               const OutgoingCargo& cargo, const TaskLimits& limits,
                               const std::type_info& function);

  void close();
  void terminate() noexcept;
  /// The same without patience.
  void kill() noexcept;
  /// What no worker has begun is cancelled.
  void cancel_pending() noexcept;
  bool join(Deadline deadline);
  /// Terminates and joins.
  void end() noexcept;
  /// Closes, and joins unless it was closed before.
  void finish() noexcept;
  /// At the end of the program: closes, joins.
  void finish_at_end() noexcept;

  [[nodiscard]] std::vector<pid_t> worker_pids() const;
  [[nodiscard]] PoolStatistics statistics() const;

 private:
  void check_code_of_task(TaskCode code, const std::type_info& function) const;

  LoadedImages images_;  // when the workers' nursery was forked
  std::unique_ptr<WorkerPool> pool_;
};

/// At the end of the program waits until all is done that it was given.
KIN_EXPORT void finish_at_exit(const std::shared_ptr<ProcessEngine>& engine);

}  // namespace kin::detail
