// SPDX-License-Identifier: BSL-1.0
//
// What all tasks have in common, whoever runs them: the result that was read, and those who want to be
// told when it is there. All of it is private to the process that asked for the task.

#include <kin/future.hpp>

#include "base/fork_lock.hpp"
#include "base/immortal.hpp"
#include "base/log_text.hpp"
#include "waiting/futex.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <climits>
#include <deque>
#include <mutex>
#include <stdexcept>

namespace kin::detail {

struct Task::Observers {
  struct One {
    std::uint64_t number;
    Observer call;
  };
  std::vector<One> waiting;
  std::uint64_t last_number = 0;
};

namespace {

// A lock a task would be too many; so tasks share some. Each costs every fork a little, so there are few.
using Locks = std::array<ForkLock, 16>;

Locks& locks() {
  static Immortal<Locks> all;
  return *all;
}
[[maybe_unused]] const bool locks_are_made = made_at_load(locks);

// Under it nothing is called that is not of here: no observer, and none is destroyed.
ForkLock& lock_of(const Task& task) noexcept {
  Locks& all = locks();
  return all[(reinterpret_cast<std::uintptr_t>(&task) >> 6) % all.size()];
}

}  // namespace

Task::Task() noexcept = default;
Task::~Task() {
  delete box_.load();
  delete observers_.load();
}

std::span<const std::byte> Task::message(IncomingCargo& /*cargo*/) { return {}; }

Box* Task::box() noexcept { return box_.load(std::memory_order_acquire); }

Box& Task::keep(std::unique_ptr<Box> box) noexcept {
  Box* before = nullptr;
  if (box_.compare_exchange_strong(before, box.get())) return *box.release();
  return *before;
}

void Task::renew() noexcept {
  if (Box* box = box_.load(std::memory_order_relaxed); box != nullptr) {
    delete box;
    box_.store(nullptr, std::memory_order_relaxed);
  }
  first_state_.store(none, std::memory_order_relaxed);
  if (Observers* observers = observers_.load(std::memory_order_relaxed); observers != nullptr) {
    delete observers;
    observers_.store(nullptr, std::memory_order_relaxed);
  }
}

bool Task::is_ready() const {
  return is_over(stage()) && first_state_.load(std::memory_order_acquire) == none;
}

bool Task::wait(Deadline deadline) {
  if (!wait_until_over(deadline)) return false;
  while (true) {
    std::uint32_t state = first_state_.load();
    if (state == none) return true;
    if (deadline.has_passed()) return false;
    SoftLimit::check();
    const std::uint32_t now_awaited = state | awaited;
    if (state != now_awaited && !first_state_.compare_exchange_strong(state, now_awaited)) continue;
    // Who ended it may have died before it said so.
    if (!futex_wait_slice(first_state_, now_awaited, deadline)) look_around();
  }
}

void Task::wait_out() {
  const SoftLimit no_limit;
  static_cast<void>(wait(Deadline::never()));
}

std::uint64_t Task::observe(Observer observer) {
  std::uint64_t number = 0;
  {
    const std::scoped_lock lock(lock_of(*this));
    Observers* all = observers_.load(std::memory_order_relaxed);
    if (all == nullptr) observers_.store(all = new Observers);
    number = ++all->last_number;
    all->waiting.push_back({number, std::move(observer)});
  }
  try {
    // The first one is not called here: it has a thread of its own.
    if (!want_notice()) call_later_observers();
  } catch (...) {
    unobserve(number);
    throw;
  }
  return number;
}

void Task::unobserve(std::uint64_t number) noexcept {
  Observer unwanted;  // destroyed without the lock
  const std::scoped_lock lock(lock_of(*this));
  Observers* const all = observers_.load(std::memory_order_relaxed);
  if (all == nullptr) return;
  for (auto& one : all->waiting) {
    if (one.number == number) unwanted = std::move(one.call);
  }
  std::erase_if(all->waiting, [&](const auto& one) { return one.number == number; });
}

void Task::call_first(FirstObserver observer) {
  first_ = std::move(observer);
  // SYNC first: relaxed, as nobody knows the task yet; what queues it publishes both.
  first_state_.store(due, std::memory_order_relaxed);
  try {
    if (!want_notice()) call_observers();
  } catch (...) {
    drop_observers();
    throw;
  }
}

void Task::drop_observers() noexcept {
  std::unique_ptr<Observers> unwanted;  // destroyed without the lock
  {
    const std::scoped_lock lock(lock_of(*this));
    unwanted.reset(observers_.exchange(nullptr));
  }
  first_ = nullptr;
  first_state_.store(none);
  forget_notice();
}

template <typename Call>
void Task::call_logged(Call&& call) const noexcept {
  const auto complain = [this](const auto&... words) noexcept {
    log_text(LogLevel::error,
             [&] { return (("a callback of " + name() + " threw") + ... + words); });
  };
  try {
    call();
  } catch (const std::exception& error) {
    complain(": ", error.what());
  } catch (...) {
    complain(" what is no std::exception");
  }
}

void Task::call_observers() noexcept {
  const std::uint32_t state = first_state_.load();
  if ((state & due) != 0 && (first_state_.fetch_or(taken) & taken) == 0) {
    call_logged([this] { first_(*this); });
    first_ = nullptr;  // what it captured is gone when others see that the task is over
    if ((first_state_.exchange(none) & awaited) != 0) futex_wake(first_state_, INT_MAX);
  }
  // Who adds one looks at the first behind that: so it is seen here, or called there.
  if (observers_.load() != nullptr) call_later_observers();
}

void Task::call_later_observers() noexcept {
  while (true) {
    Observer next;
    {
      const std::scoped_lock lock(lock_of(*this));
      // Another thread calls the first, and then calls these: not before it.
      if (first_state_.load() != none) return;
      Observers* const all = observers_.load(std::memory_order_relaxed);
      if (all == nullptr || all->waiting.empty()) return;
      next = std::move(all->waiting.front().call);
      all->waiting.erase(all->waiting.begin());
    }
    // A lambda, as what is made of a template for it is nobody else's, and not exported.
    call_logged([&next] { next(); });
  }
}

void complain_unfinished() { throw InvalidStateError("the task is not over yet"); }
void complain_no_task() { throw std::logic_error("kin: this Future names no task"); }
bool is_failed(Task& task) { return task.stage() == Task::Stage::failed; }

// ---- Arrivals

// Shared with the observers, which may be called when nobody waits any more.
struct Arrivals::Inbox {
  std::mutex mutex;
  std::deque<std::size_t> numbers;  // guarded
  FutexWord count{0};

  void put(std::size_t number) {
    {
      const std::scoped_lock lock(mutex);
      numbers.push_back(number);
    }
    count.fetch_add(1);
    futex_wake(count, INT_MAX);
  }
  std::optional<std::size_t> take() {
    const std::scoped_lock lock(mutex);
    if (numbers.empty()) return std::nullopt;
    const std::size_t number = numbers.front();
    numbers.pop_front();
    return number;
  }
};

Arrivals::Arrivals() : inbox_(std::make_shared<Inbox>()) {}
Arrivals::Arrivals(Arrivals&&) noexcept = default;
Arrivals& Arrivals::operator=(Arrivals&&) noexcept = default;

Arrivals::~Arrivals() {
  for (const auto& [number, one] : expected_) {
    if (one.observer != 0) one.task->unobserve(one.observer);
  }
}

void Arrivals::expect(const TaskRef& task, std::size_t number) {
  expected_.try_emplace(number, Expected{task, 0});
}

std::size_t Arrivals::take(ExpectedMap::iterator at) {
  const std::size_t number = at->first;
  const Expected one = std::move(at->second);
  expected_.erase(at);
  if (one.observer != 0) one.task->unobserve(one.observer);
  return number;
}

// The first that is over, if nobody tells of it: of few it is cheaper to look.
std::optional<std::size_t> Arrivals::look() {
  for (auto at = expected_.begin(); at != expected_.end(); ++at) {
    if (at->second.task->is_ready()) return take(at);
  }
  return std::nullopt;
}

std::optional<std::size_t> Arrivals::next(Deadline deadline) {
  constexpr std::size_t few = 64;
  if (expected_.empty()) return std::nullopt;
  if (expected_.size() <= few) {
    if (auto number = look()) return number;
    const auto any_ready = [this] {
      return std::ranges::any_of(expected_,
                                 [](const auto& entry) { return entry.second.task->is_ready(); });
    };
    if (!deadline.is_passed_from_start() && spin(any_ready, deadline, nullptr)) return look();
  }
  // clang-tidy 16 does not survive structured bindings here.
  for (auto& entry : expected_) {
    Expected& one = entry.second;
    if (one.observer != 0) continue;
    const auto tell = [inbox = inbox_, number = entry.first] { inbox->put(number); };
    one.observer = one.task->observe(tell);
  }
  while (true) {
    const std::uint32_t before = inbox_->count.load();
    while (const auto number = inbox_->take()) {
      // One that was looked at first is not expected any more.
      const auto found = expected_.find(*number);
      if (found != expected_.end()) return take(found);
    }
    if (deadline.has_passed()) return look();
    SoftLimit::check();
    if (!futex_wait_slice(inbox_->count, before, deadline)) {
      // A pool whose nursery is dead tells nobody: who asks finds out.
      for (const auto& entry : expected_) entry.second.task->look_around();
      // Nor is anybody told while it is this thread that tells: in a callback.
      if (const auto number = look()) return number;
    }
  }
}

}  // namespace kin::detail
