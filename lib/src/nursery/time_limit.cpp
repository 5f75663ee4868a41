// SPDX-License-Identifier: BSL-1.0
//
// Time limits, as the nursery sees to them. The worker says in its seat when it began; whether it is
// still at that task, the task's word says, and the two are not read at once.

#include "nursery/time_limit.hpp"

#include <algorithm>

namespace kin::detail {

std::int64_t next_limit(const Seat& seat) {
  std::int64_t next = INT64_MAX;
  const std::int64_t started = seat.started_at.load();
  const TaskSlot* task = seat.current.load();
  if (started == 0 || task == nullptr) return next;
  if (task->hard_limit != 0) next = std::min(next, started + limit_nanoseconds(task->hard_limit));
  if (task->soft_limit != 0 && seat.stop_for.load() != started) {
    next = std::min(next, started + limit_nanoseconds(task->soft_limit));
  }
  return next;
}

void enforce_limits(Seat& seat, std::uint16_t number, std::int64_t now) {
  TaskSlot* task = seat.current.load();
  const std::int64_t started = seat.started_at.load();
  if (started == 0 || task == nullptr) return;
  const TaskWord word = task->now();
  const bool is_running = word.state() == TaskState::running && word.seat() == number &&
                          word.generation() == seat.current_generation.load();
  // Read again behind the word: the time and the word belong to one run of one task.
  if (!is_running || seat.started_at.load() != started) return;
  if (task->soft_limit != 0 && now >= started + limit_nanoseconds(task->soft_limit)) {
    seat.stop_for.store(started);
  }
  if (task->hard_limit != 0 && now >= started + limit_nanoseconds(task->hard_limit)) {
    std::uint64_t before = word.bits();
    // If the task is over by now this fails, and the worker lives.
    task->word.compare_exchange_strong(
        before, word.with(TaskState::killing).with(TaskWord::too_long).bits());
  }
}

}  // namespace kin::detail
