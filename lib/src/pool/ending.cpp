// SPDX-License-Identifier: BSL-1.0
//
// How a pool ends, in its maker's process: by request, or since its nursery was killed. Whatever the workers
// do, in bounded time.

#include "pool/worker_pool.hpp"

#include "base/log_text.hpp"
#include "waiting/soft_limit.hpp"

#include "os/child.hpp"

#include <kin/log.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <stdexcept>

#include <sys/eventfd.h>

namespace kin::detail {

void WorkerPool::change_phase(PoolState::Phase from, PoolState::Phase to) const noexcept {
  std::uint32_t before = from;
  state().phase.compare_exchange_strong(before, to);
}

void WorkerPool::ring_nursery() noexcept { ::eventfd_write(bell_.get(), 1); }

void WorkerPool::shut_down_tasks() noexcept {
  shut_down_hints(memory_.tasks());
  ring_nursery();
}

void WorkerPool::close() {
  check_process();
  change_phase(PoolState::open, PoolState::closing);
  shut_down_tasks();
}

void WorkerPool::terminate() noexcept {
  if (!is_own_process()) return;
  change_phase(PoolState::open, PoolState::terminating);
  change_phase(PoolState::closing, PoolState::terminating);
  shut_down_tasks();
}

void WorkerPool::kill() noexcept {
  if (!is_own_process()) return;
  state().has_no_patience.store(1);
  terminate();
}

void WorkerPool::cancel_pending() noexcept {
  if (!is_own_process()) return;
  end_tasks_if(memory_, TaskState::cancelled,
               [](TaskWord word) { return word.state() == TaskState::queued; });
}

bool WorkerPool::join(Deadline deadline) {
  check_process();
  if (notices_.is_here()) {
    throw std::logic_error("kin: " + name_ + " can't be joined by one of its own callbacks");
  }
  if (state().phase.load() == PoolState::open) {
    throw std::logic_error("kin: " + name_ + " is open: close() or terminate() it before join()");
  }
  if (!join_nursery(deadline)) return false;
  bury();
  return true;
}

void WorkerPool::end() noexcept {
  const SoftLimit no_limit;
  try {
    terminate();
    join_nursery(Deadline::never());
    bury();
  } catch (const std::exception& error) {
    log_text(LogLevel::error, [&] { return name_ + " could not be ended: " + error.what(); });
  }
}

void WorkerPool::finish() noexcept {
  const SoftLimit no_limit;
  try {
    const bool was_open = state().phase.load() == PoolState::open;
    close();
    if (was_open && !notices_.is_here()) join(Deadline::never());
  } catch (const std::exception& error) {
    log_text(LogLevel::error, [&] { return name_ + " could not be finished: " + error.what(); });
  }
}

bool WorkerPool::join_nursery(Deadline deadline) {
  constexpr auto patience = std::chrono::seconds(3);
  const auto join_until = [&](Deadline until) {
    if (until.is_never()) {
      nursery_->join();
      return true;
    }
    return nursery_->join_for(std::chrono::nanoseconds(until.nanoseconds() - Deadline::now()));
  };
  const auto end_of_slice = [&] {
    return Deadline::at(std::min(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds));
  };
  // Another thread may terminate it meanwhile.
  while (state().phase.load() != PoolState::terminating) {
    if (join_until(end_of_slice())) return true;
    if (deadline.has_passed()) return false;
  }
  const Deadline patient = Deadline::after(patience);
  if (join_until(patient.nanoseconds() < deadline.nanoseconds() ? patient : deadline)) return true;
  if (deadline.has_passed()) return false;
  // It was stopped, or is in trouble. Its workers end with it.
  nursery_->kill();  // NOLINT(bugprone-unchecked-optional-access): it was started
  return join_until(deadline);
}

void WorkerPool::look_after_nursery(Deadline deadline) {
  // It was started. NOLINTNEXTLINE(bugprone-unchecked-optional-access)
  if (is_over_.load() || nursery_->is_alive()) return;
  const std::shared_ptr<ProcessEngine> alive = keep_alive();
  // Or another thread is about it.
  const std::unique_lock lock(ending_, std::try_to_lock);
  if (lock && end_orphans(deadline)) bury_tasks();
}

// The nursery is dead, and all workers; what they left undone ends here. With the lock.
void WorkerPool::bury_tasks() {
  if (is_over_.load()) return;
  const std::uint32_t phase = state().phase.load();
  // One that ended by itself has left none: what is still queued is so in vain, and taken back by who does that.
  // It was started. NOLINTNEXTLINE(bugprone-unchecked-optional-access)
  const bool was_done = phase == PoolState::closing && nursery_->exit_code() == 0;
  is_over_.store(true);
  // What is just being queued was accepted before this, and ends here, or is refused.
  shut_down_tasks();
  if (!was_done) {
    end_tasks_if(memory_, phase == PoolState::terminating ? TaskState::cancelled : TaskState::died,
                 [](TaskWord word) { return word.is_workers(); });
  }
  state().notices.ask_to_look();  // for those that nobody came to post
  clear_aside();
}

void WorkerPool::bury() {
  {
    const std::scoped_lock lock(ending_);
    if (end_orphans(Deadline::never())) bury_tasks();
  }
  // Another lock: the notices' thread may be about to bury.
  const std::scoped_lock lock(ending_notices_);
  if (state().phase.load() != PoolState::open) notices_.end();
}

// Workers are killed when their nursery dies; until the kernel says that they are gone they may still
// write. One whose task has become another program, by exec(), has no life-line any more, so they are
// killed here as well: all of them before one is waited for. False when some are left at the deadline.
bool WorkerPool::end_orphans(Deadline deadline) const {
  const auto end_all = [&](Deadline until) {
    bool are_gone = true;
    for (Seat& seat : state().seats()) {
      const Stamp worker = seat.worker.load();
      if (worker != 0 && !kill_and_sweep(worker, until)) {
        are_gone = false;
      } else {
        seat.pid.store(0);
      }
    }
    return are_gone;
  };
  return is_over_.load() || end_all(Deadline::passed()) || end_all(deadline);
}

}  // namespace kin::detail
