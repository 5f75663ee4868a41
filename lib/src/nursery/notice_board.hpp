// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "nursery/task_slot.hpp"
#include "waiting/parking.hpp"

#include <kin/detail/deadline.hpp>

#include <atomic>
#include <cstdint>

namespace kin::detail {

/// Which observed tasks are over: from whoever ends them to the one thread of the parent's that calls their
/// observers.
///
/// A list through the slots. Who ends a task, by one store, puts it on top; the reader takes all at once. A
/// slot's life ends behind that, so no slot is on the list twice. Needs no memory and no lock.
/// Lives in shared memory; all zero is its initial state. Writers: who ends an observed task; the reader.
/// If a process dies: between the end of a task and its place on the list that task is missing. The nursery
/// says so in the slot of a worker that is dead; when the nursery is dead the parent looks at all of them.
class NoticeBoard {
 public:
  /// Of a task that the caller has ended.
  void post(TaskSlot& slot) noexcept;
  /// Of one that its worker had ended, who is dead and may not have come to post it.
  void post_for_dead(TaskSlot& slot, std::uint32_t generation) noexcept;
  /// The reader is to look at all tasks.
  void ask_to_look() noexcept;
  /// No reader waits any more.
  void shut() noexcept;

  /// Whether somebody asked since the last time. Before take_all(), which then takes whatever the dead have posted.
  [[nodiscard]] bool was_asked() noexcept {
    return is_asked_.load(std::memory_order_relaxed) != 0 && is_asked_.exchange(0) != 0;
  }
  /// Takes all and calls `use` for each, in the order in which they were posted, until it says that this is
  /// enough. False when there was none.
  bool take_all(FunctionRef<bool(TaskSlot&)> use);
  /// Until there may be one, or it is shut; false when the time is up.
  bool wait(Deadline deadline);
  [[nodiscard]] bool is_shut() const noexcept { return is_shut_.load() != 0; }

 private:
  // A place, see TaskHint; 0: nobody.
  alignas(64) std::atomic<std::uint32_t> top_;
  alignas(64) std::atomic<std::uint32_t> is_asked_;
  std::atomic<std::uint32_t> is_shut_;
  ParkingSpot reader_;
};

}  // namespace kin::detail
