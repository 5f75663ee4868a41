// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"
#include "nursery/pool_state.hpp"
#include "pool/notices.hpp"
#include "pool/pool_task.hpp"

#include <kin/detail/process_engine.hpp>
#include <kin/process.hpp>
#include <kin/unique_fd.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace kin::detail {

/// What a ProcessEngine is made of: the parent's side of a pool.
class WorkerPool {
 public:
  WorkerPool(ProcessEngine& engine, PoolSettings settings);
  ~WorkerPool() = default;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  [[nodiscard]] PoolMemory& memory() noexcept { return memory_; }
  [[nodiscard]] PoolState& state() const noexcept { return memory_.state(); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] bool is_own_process() const noexcept { return creator_ == this_process_or_none(); }
  void check_process() const;

  TaskRef hold(TaskCode code, std::span<const std::byte> arguments, const OutgoingCargo& cargo,
               const TaskLimits& limits, const std::type_info& function);
  std::byte* make_arguments(TaskSlot& slot, std::size_t size);
  void make_result(TaskSlot& slot, std::size_t size);
  void queue(PoolTask& task);

  /// Nobody refers to it any more, and no worker has it: its slot is free.
  void recycle(PoolTask& task) noexcept;
  /// Nobody refers to it any more, but it is not over.
  void put_aside(PoolTask& task) noexcept;

  /// Part of every slice of a wait, and of the notices' thread: what to do when the nursery is dead. Its
  /// workers' end may be waited for so long; then the next look goes on with it.
  void look_after_nursery(Deadline deadline);
  void ring_nursery() noexcept;
  /// Somebody awaits one.
  void start_notices();
  [[nodiscard]] std::string why_broken() const;

  void close();
  void terminate() noexcept;
  void kill() noexcept;
  void cancel_pending() noexcept;
  bool join(Deadline deadline);
  void end() noexcept;
  void finish() noexcept;

 private:
  void start(PoolSettings settings);
  PoolTask& take_free();
  void add_block();
  [[nodiscard]] PoolTask& task_of(const TaskSlot& slot) noexcept;
  void look_aside() noexcept;
  void clear_aside() noexcept;
  void call_observers(const TaskSlot& slot);
  void look_around();
  void look_at_all();
  [[nodiscard]] std::shared_ptr<ProcessEngine> keep_alive() const;
  void refuse_unless_open() const;
  void change_phase(PoolState::Phase from, PoolState::Phase to) const noexcept;
  void shut_down_tasks() noexcept;
  bool join_nursery(Deadline deadline);
  void bury_tasks();
  void bury();
  [[nodiscard]] bool end_orphans(Deadline deadline) const;

  ProcessEngine& engine_;
  Stamp creator_;
  std::string name_;
  PoolMemory memory_;
  UniqueFd bell_;  // wakes the nursery
  std::optional<Process> process_;
  std::optional<ProcessHandle> nursery_;
  std::atomic<bool> is_over_{false};  // the nursery is dead, and all tasks have ended

  std::mutex ending_;          // guards the end of the nursery's tasks
  std::mutex ending_notices_;  // guards that of the notices

  std::mutex blocks_mutex_;  // guards the state's spares

  std::mutex mutex_;  // guards what follows
  PoolTask* free_ = nullptr;
  std::size_t in_use_ = 0;
  std::uint64_t taken_ = 0;              // ever
  std::shared_ptr<ProcessEngine> self_;  // while tasks are in use
  std::vector<std::unique_ptr<PoolTask[]>> blocks_;
  std::deque<PoolTask*> aside_;
  // What the blocks hold, for who has no lock.
  std::array<std::atomic<PoolTask*>, PoolState::most_blocks> tasks_{};
  std::atomic<bool> has_aside_{false};  // written with the lock, read without
  std::atomic<bool> has_notices_{false};
  Notices notices_;
};

}  // namespace kin::detail
