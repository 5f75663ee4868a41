// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "nursery/task_slot.hpp"

#include <kin/detail/task.hpp>

#include <atomic>
#include <cstdint>
#include <string>
#include <typeinfo>

namespace kin::detail {

class WorkerPool;

/// A task of a pool's as its maker sees it: a slot in shared memory, and what is private beside it.
/// There is one for each slot, used again with it.
class PoolTask final : public Task {
 public:
  void adopt(WorkerPool& pool, TaskSlot& slot) noexcept {
    pool_ = &pool;
    slot_ = &slot;
  }
  [[nodiscard]] TaskSlot& slot() const noexcept { return *slot_; }

  [[nodiscard]] Stage stage() const override;
  [[nodiscard]] bool wait_until_over(Deadline deadline) override;
  void look_around() override;
  bool cancel(bool kill) override;
  [[nodiscard]] std::exception_ptr failure() override;
  [[nodiscard]] std::span<const std::byte> message(IncomingCargo& cargo) override;
  [[nodiscard]] bool is_message() const noexcept override { return true; }
  [[nodiscard]] std::string name() const override;

  // The pool's.
  using Task::call_observers;
  PoolTask* next_free = nullptr;
  bool is_measured = false;  // how long it waits and runs
  const std::type_info* function = &typeid(void);
  /// Its notice has come: the reference that the task had to itself, if it awaited that.
  [[nodiscard]] TaskRef take_notice() noexcept;
  /// As a new one, for the next use.
  void renew() noexcept;
  TaskRef lent;  // what the worker reads besides: a task that is held

 private:
  bool want_notice() override;
  void forget_notice() noexcept override;
  void dispose() noexcept override;
  [[nodiscard]] std::exception_ptr death() const;

  // Whether the task is observed, and as long as that is awaited refers to itself.
  enum Notice : std::uint32_t { unwanted, wanted, came };
  std::atomic<std::uint32_t> notice_{unwanted};
  WorkerPool* pool_ = nullptr;
  TaskSlot* slot_ = nullptr;
};

}  // namespace kin::detail
