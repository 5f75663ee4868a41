// SPDX-License-Identifier: BSL-1.0
//
// What becomes of the task of a worker that is dead. The nursery calls it, alone, between the worker's
// last breath and the next worker's first: nobody else writes to the seat. Only the parent may change the
// task meanwhile, by calling it off.

#include "nursery/obituary.hpp"

namespace kin::detail {
namespace {

bool has_task(const TaskWord& word, std::uint16_t seat) {
  const bool is_begun = word.state() == TaskState::running || word.state() == TaskState::killing;
  return is_begun && word.seat() == seat;
}

void end(PoolMemory& memory, TaskSlot& task, const WorkerDeath& death) {
  const std::uint32_t generation = task.now().generation();
  task.death.pid.store(death.pid);
  task.death.exit_code.store(static_cast<std::int16_t>(death.exit_code));
  task.death.out_of_memory.store(death.out_of_memory ? 1 : 0);
  end_task_if(memory, task, generation, TaskState::died,
              [&](TaskWord word) { return word.state() == TaskState::running; });
  end_task_if(memory, task, generation, TaskState::over_limit, [&](TaskWord word) {
    return word.state() == TaskState::killing && word.has(TaskWord::too_long);
  });
  end_task_if(memory, task, generation, TaskState::cancelled,
              [&](TaskWord word) { return word.state() == TaskState::killing; });
}

}  // namespace

void settle(PoolMemory& memory, const WorkerDeath& death) {
  Seat& seat = memory.state().seats()[death.seat];
  seat.started_at.store(0);
  seat.stop_for.store(0);
  // It may have died before it began with what the one before it had left.
  seat.resumes.store(0);
  TaskSlot* task = seat.current.load();
  if (task == nullptr) return;
  const TaskWord now = task->now();
  const bool is_same = now.generation() == seat.current_generation.load();
  if (!is_same || !has_task(now, death.seat)) {
    // It may have died between the end of the task and its notice.
    if (is_same && now.is_over() && now.has(TaskWord::observed)) {
      memory.state().notices.post_for_dead(*task, now.generation());
    }
    seat.current.store(nullptr);
    return;
  }
  const std::uint32_t phase = memory.state().phase.load();
  if (now.state() == TaskState::running && task->retries.load() != 0 &&
      phase != PoolState::terminating) {
    task->retries.fetch_sub(1);
    seat.resumes.store(1);
    return;
  }
  // Unless it did not die by itself: then its task ends as all others do.
  if (phase != PoolState::terminating && phase != PoolState::broken) end(memory, *task, death);
  seat.current.store(nullptr);
}

void settle_cancelled(PoolMemory& memory, std::uint16_t number) {
  Seat& seat = memory.state().seats()[number];
  if (seat.resumes.load() == 0) return;
  TaskSlot* task = seat.current.load();
  const TaskWord now = task->now();
  // Not for a time limit, none runs.
  if (now.state() != TaskState::killing) return;
  end_task_if(memory, *task, now.generation(), TaskState::cancelled,
              [](TaskWord word) { return word.state() == TaskState::killing; });
  seat.resumes.store(0);
  seat.current.store(nullptr);
}

}  // namespace kin::detail
