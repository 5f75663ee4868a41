// SPDX-License-Identifier: BSL-1.0
//
// Tasks that this process runs itself, in threads, and tasks that are made of others.

#include <kin/detail/local_task.hpp>

#include "base/fork_depth.hpp"
#include "base/readable_type.hpp"
#include "deadlock/waiting.hpp"
#include "os/fork.hpp"
#include "waiting/futex.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <climits>
#include <ranges>
#include <stdexcept>

namespace kin::detail {
namespace {
[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();
}  // namespace

// ---- LocalTask

LocalTask::~LocalTask() = default;

bool LocalTask::wait_until_over(Deadline deadline) {
  const auto is_over_now = [this] { return is_over(stage_.load()); };
  if (is_over_now()) return true;
  if (deadline.is_passed_from_start()) return false;
  if (spin(is_over_now, deadline, nullptr)) return true;
  Waiting waiting({.kind = WaitKind::result}, deadline);
  while (!is_over_now()) {
    if (deadline.has_passed()) return false;
    SoftLimit::check();
    waiting.look_around();
    futex_wait_slice(ends_, 0, deadline);
  }
  return true;
}

bool LocalTask::begin() {
  Stage before = Stage::pending;
  return stage_.compare_exchange_strong(before, Stage::running);
}

bool LocalTask::cancel(bool /*kill*/) {
  Stage before = Stage::pending;
  if (!stage_.compare_exchange_strong(before, Stage::cancelled)) {
    return before == Stage::cancelled;
  }
  end(Stage::cancelled);
  return true;
}

void LocalTask::end(Stage stage) {
  const TaskRef alive(*this);  // who waits may let go of it
  stage_.store(stage);
  ends_.store(1);
  futex_wake(ends_, INT_MAX);
  call_observers();
}

void LocalTask::finish(std::unique_ptr<Box> box) {
  keep(std::move(box));
  end(Stage::finished);
}

void LocalTask::fail(std::exception_ptr exception) {
  exception_ = std::move(exception);
  end(Stage::failed);
}

std::exception_ptr LocalTask::failure() {
  switch (stage()) {
    case Stage::failed: return exception_;
    case Stage::cancelled:
      return std::make_exception_ptr(CancelledError("the task was cancelled: " + name()));
    default: return nullptr;
  }
}

std::string LocalTask::name() const { return readable_type(*function_); }

// ---- ThreadTask

ThreadTask::ThreadTask(const std::type_info& function, std::uint32_t soft_limit)
    : LocalTask(function), fork_depth_(fork_depth), soft_limit_(soft_limit) {}

ThreadTask::~ThreadTask() = default;

void ThreadTask::check_process() const {
  if (fork_depth_ != fork_depth && !is_over(stage())) {
    throw std::logic_error("kin: " + name() + " runs in a thread of the process that submitted it");
  }
}

bool ThreadTask::wait_until_over(Deadline deadline) {
  check_process();
  return LocalTask::wait_until_over(deadline);
}

bool ThreadTask::want_notice() {
  check_process();
  return LocalTask::want_notice();
}

void ThreadTask::begin_anew() noexcept { SoftLimit::begin_anew(Deadline::now()); }

void ThreadTask::run() {
  if (!begin()) {
    let_go();
    return;
  }
  std::unique_ptr<Box> box;
  std::exception_ptr exception;
  try {
    const SoftLimit limit(soft_limit_, soft_limit_ == 0 ? 0 : Deadline::now());
    box = call();
  } catch (...) {
    exception = std::current_exception();
  }
  let_go();
  if (exception) {
    fail(std::move(exception));
  } else {
    finish(std::move(box));
  }
}

// ---- GroupTask

GroupTask::~GroupTask() = default;

Task::Stage GroupTask::stage() const {
  // Several threads may look; each finds what is true.
  std::size_t over = over_.load(std::memory_order_relaxed);
  while (over < members_.size() && members_[over]->is_ready()) ++over;
  over_.store(over, std::memory_order_relaxed);
  if (over < members_.size()) {
    if (over != 0) return Stage::running;
    for (const TaskRef& member : members_) {
      if (member->stage() != Stage::pending) return Stage::running;
    }
    return Stage::pending;
  }
  Stage worst = Stage::finished;
  for (const TaskRef& member : members_) {
    const Stage one = member->stage();
    if (one == Stage::failed) return Stage::failed;
    if (one == Stage::cancelled) worst = Stage::cancelled;
  }
  return worst;
}

bool GroupTask::wait_until_over(Deadline deadline) {
  for (const TaskRef& member : members_) {
    if (!member->wait(deadline)) return false;
  }
  return true;
}

void GroupTask::look_around() {
  if (!members_.empty()) members_.back()->look_around();
}

bool GroupTask::cancel(bool kill) {
  bool all = true;
  for (const TaskRef& member : members_) all = member->cancel(kill) && all;
  return all && !members_.empty();
}

std::exception_ptr GroupTask::failure() {
  std::exception_ptr cancelled;
  for (const TaskRef& member : members_) {
    const Stage one = member->stage();
    if (one == Stage::failed) return member->failure();
    if (one == Stage::cancelled && !cancelled) cancelled = member->failure();
  }
  return cancelled;
}

std::string GroupTask::name() const {
  return members_.empty() ? "an empty map" : "a map of " + members_.front()->name();
}

bool GroupTask::want_notice() {
  if (is_over(stage())) return false;
  if (is_observing_.exchange(true)) return true;
  left_.store(members_.size());
  const auto count_down = [self = TaskRef(*this)]() mutable {
    auto& group = static_cast<GroupTask&>(*self);
    if (group.left_.fetch_sub(1) == 1) group.call_observers();
    self = TaskRef();
  };
  try {
    members_.front()->observe(count_down);
  } catch (...) {
    // No thread to tell of it. The others have the same, so they are spared that.
    is_observing_.store(false);
    throw;
  }
  for (const TaskRef& member : members_ | std::views::drop(1)) member->observe(count_down);
  return true;
}

}  // namespace kin::detail
