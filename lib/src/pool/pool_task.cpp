// SPDX-License-Identifier: BSL-1.0
//
// Waiting for a task, asking after it, calling it off. The slot's word says all: whoever waits spins and
// then sleeps on the word itself, and is woken by the worker that ends the task.

#include "pool/pool_task.hpp"

#include "base/readable_type.hpp"
#include "deadlock/waiting.hpp"
#include "nursery/pool_state.hpp"
#include "pool/worker_pool.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"
#include "wire/exception.hpp"

#include <kin/detail/archive.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <cstring>
#include <new>

namespace kin::detail {

std::string PoolTask::name() const { return readable_type(*function); }

Task::Stage PoolTask::stage() const {
  // The slot is its maker's, who may use it for another task by now.
  pool_->check_process();
  switch (slot_->now().state()) {
    case TaskState::running:
    case TaskState::killing: return Stage::running;
    case TaskState::finished: return Stage::finished;
    case TaskState::cancelled: return Stage::cancelled;
    case TaskState::failed:
    case TaskState::died:
    case TaskState::over_limit: return Stage::failed;
    default: return Stage::pending;
  }
}

bool PoolTask::wait_until_over(Deadline deadline) {
  pool_->check_process();
  const auto is_over = [this] { return slot_->now().is_over(); };
  if (is_over()) return true;
  if (deadline.is_passed_from_start()) return false;
  if (spin(is_over, deadline, nullptr)) return true;
  Waiting waiting({.kind = WaitKind::result}, deadline);
  while (true) {
    const TaskWord now = slot_->now();
    if (now.is_over()) return true;
    if (deadline.has_passed()) return false;
    SoftLimit::check();
    waiting.look_around();
    std::uint64_t before = now.bits();
    const TaskWord now_awaited = now.with(TaskWord::awaited);
    if (before != now_awaited.bits() &&
        !slot_->word.compare_exchange_strong(before, now_awaited.bits())) {
      continue;
    }
    if (!futex_wait_slice(slot_->sleepers_word(), now_awaited.low(), deadline)) {
      // Not past a soft limit, or what else is looked for here.
      const std::int64_t slice_ends = Deadline::now() + slice_nanoseconds;
      pool_->look_after_nursery(Deadline::at(std::min(deadline.nanoseconds(), slice_ends)));
    }
  }
}

void PoolTask::look_around() {
  pool_->check_process();
  pool_->look_after_nursery(Deadline::passed());
}

bool PoolTask::cancel(bool kill) {
  pool_->check_process();
  while (true) {
    const TaskWord now = slot_->now();
    if (now.is_over()) return now.state() == TaskState::cancelled;
    if (now.state() == TaskState::held || now.state() == TaskState::queued) {
      if (end_task(pool_->memory(), *slot_, now, TaskState::cancelled)) return true;
    } else if (now.state() == TaskState::killing) {
      return !now.has(TaskWord::too_long);
    } else if (!kill) {
      return false;
    } else {
      std::uint64_t before = now.bits();
      if (!slot_->word.compare_exchange_strong(before, now.with(TaskState::killing).bits())) {
        continue;
      }
      // If killed here: the nursery ends with its parent.
      pool_->ring_nursery();
      return true;
    }
  }
}

std::span<const std::byte> PoolTask::message(IncomingCargo& cargo) {
  pool_->check_process();
  cargo.clear();
  if (slot_->result_cargo) claim_cargo(*slot_->result_cargo, cargo);
  const std::byte* at = slot_->result_block ? slot_->result_block.address() : slot_->result.data();
  return {at, slot_->result_length.load(std::memory_order_relaxed)};
}

std::exception_ptr PoolTask::failure() {
  pool_->check_process();
  switch (slot_->now().state()) {
    case TaskState::finished: return nullptr;
    case TaskState::failed: {
      IncomingCargo cargo;
      return take_exception(message(cargo), cargo);
    }
    case TaskState::cancelled:
      return std::make_exception_ptr(CancelledError("the task was cancelled: " + name()));
    case TaskState::over_limit:
      return std::make_exception_ptr(TimeoutError(
          name() + " ran for more than its limit of " + std::to_string(slot_->hard_limit) +
          " ms, and its worker (pid " + std::to_string(slot_->death.pid.load()) + ") was killed"));
    default: return death();
  }
}

std::exception_ptr PoolTask::death() const {
  const pid_t pid = slot_->death.pid.load();
  if (pid == 0) return std::make_exception_ptr(BrokenPool(pool_->why_broken()));
  const int code = slot_->death.exit_code.load();
  std::string text = "worker process " + std::to_string(pid) + " of " + pool_->name();
  if (code < 0) {
    const char* abbreviation = ::sigabbrev_np(-code);
    const char* description = ::sigdescr_np(-code);
    text += " was killed by SIG" + std::string(abbreviation != nullptr ? abbreviation : "?") +
            " (" + (description != nullptr ? description : "signal " + std::to_string(-code)) + ")";
  } else {
    text += " ended with exit code " + std::to_string(code);
  }
  text += " while it ran " + name();
  if (slot_->death.out_of_memory.load() != 0) {
    text += "; the kernel had just killed a process to have its memory, probably this one";
  }
  text += ". The pool goes on; with the option `retries` such a task runs again";
  return std::make_exception_ptr(WorkerDied(text, pid, code));
}

TaskRef PoolTask::take_notice() noexcept {
  return notice_.exchange(came) == wanted ? TaskRef::adopt(*this) : TaskRef();
}

bool PoolTask::want_notice() {
  pool_->check_process();
  pool_->start_notices();  // first: without the thread nobody would let go of the task again
  TaskRef self(*this);
  std::uint32_t before = unwanted;
  const bool is_first = notice_.compare_exchange_strong(before, wanted);
  if (is_first) self.release();
  if (before == came) return false;
  while (true) {
    const TaskWord now = slot_->now();
    if (now.is_over()) {
      // It is on its way. Or whoever was first is here as well, and calls the observers.
      if (now.has(TaskWord::observed) || !is_first) return true;
      forget_notice();
      return false;
    }
    const TaskWord observed = now.with(TaskWord::observed);
    if (now.state() == TaskState::held) {
      // Nobody else knows it yet.
      slot_->word.store(observed.bits(), std::memory_order_relaxed);
      return true;
    }
    std::uint64_t word = now.bits();
    if (slot_->word.compare_exchange_strong(word, observed.bits())) return true;
  }
}

void PoolTask::forget_notice() noexcept {
  std::uint32_t before = wanted;
  if (notice_.compare_exchange_strong(before, unwanted)) static_cast<void>(TaskRef::adopt(*this));
}

void PoolTask::renew() noexcept {
  Task::renew();
  if (notice_.load(std::memory_order_relaxed) != unwanted) {
    notice_.store(unwanted, std::memory_order_relaxed);
  }
}

void PoolTask::dispose() noexcept {
  if (!pool_->is_own_process()) return;
  const TaskWord now = slot_->now();
  if (now.is_over() || now.state() == TaskState::held) {
    pool_->recycle(*this);
  } else {
    pool_->put_aside(*this);
  }
}

}  // namespace kin::detail
