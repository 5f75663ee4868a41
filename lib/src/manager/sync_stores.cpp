// SPDX-License-Identifier: BSL-1.0
//
// Locks and meeting points as they are in a manager's server: plain objects, since one thread changes them.
// Who waits for them is parked beside them, and tried again.

#include <kin/detail/sync_stores.hpp>

#include "manager/manager_state.hpp"
#include "memory/process_table.hpp"

#include <kin/detail/managed_queue.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace kin::detail {

pid_t pid_of_client(std::uint64_t process) noexcept {
  return is_outsider(process) ? 0 : pid_of(process);
}

void complain_lost_items(const std::vector<pid_t>& dead, std::size_t items) {
  std::string text =
      std::to_string(items) + " items were taken by processes that died before task_done():";
  for (const pid_t pid : dead) text += ' ' + std::to_string(pid);
  throw OwnerDied(text, dead, items);
}

// ---- LockStore

bool LockStore::lock(std::uint64_t process, std::int32_t thread) noexcept {
  if (depth_ != 0) {
    if (!is_recursive_ || !is_held_by(process, thread)) return false;
    ++depth_;
    return true;
  }
  owner_died_ = std::exchange(left_by_dead_, false);
  process_ = process;
  thread_ = thread;
  depth_ = 1;
  return true;
}

void LockStore::unlock(std::uint64_t process, std::int32_t thread) {
  if (depth_ == 0) throw std::logic_error("kin: unlock() of a lock that nobody holds");
  if (is_recursive_ && !is_held_by(process, thread)) {
    throw std::logic_error("kin: unlock() of a recursive lock that another thread holds");
  }
  if (--depth_ == 0) notification_ = {};
}

void LockStore::let_go(std::uint64_t process, std::int32_t thread) {
  if (!is_held_by(process, thread)) {
    throw std::logic_error("kin: wait() of a condition whose lock the caller does not hold");
  }
  away_[{process, thread}] = depth_;
  depth_ = 0;
  notification_ = {};
}

bool LockStore::lock_again(std::uint64_t process, std::int32_t thread) noexcept {
  const auto found = away_.find({process, thread});
  // A wait that threw, or was given up before the server had begun with it.
  if (found == away_.end()) return true;
  if (!lock(process, thread)) return false;
  depth_ = found->second;
  away_.erase(found);
  return true;
}

void LockStore::came_with(Proxy<ConditionStore> notification) noexcept {
  notification_ = std::move(notification);
}

void LockStore::bury(DeadClient dead) {
  std::erase_if(away_, [&](const auto& one) { return one.first.first == dead.process; });
  if (depth_ == 0 || process_ != dead.process) return;
  depth_ = 0;
  left_by_dead_ = true;
  // Last: who is notified wants the lock.
  const Proxy<ConditionStore> notification = std::exchange(notification_, {});
  if (notification != Proxy<ConditionStore>()) {
    notification.call(&ConditionStore::notify, std::size_t{1});
  }
}

// ---- SemaphoreStore

SemaphoreStore::SemaphoreStore(int value, bool is_bounded)
    : value_(value), most_(value), is_bounded_(is_bounded) {
  if (value < 0) throw std::invalid_argument("kin: a semaphore's value can't be negative");
}

bool SemaphoreStore::acquire(std::uint64_t process) {
  if (value_ == 0) return false;
  if (is_bounded_) ++held_[process];
  --value_;
  return true;
}

void SemaphoreStore::release(std::uint64_t process, int count) {
  if (count < 1) throw std::invalid_argument("kin: release() of less than one permit");
  if (is_bounded_ && count > most_ - value_) {
    throw std::logic_error("kin: a bounded semaphore was released more often than acquired");
  }
  if (count > std::numeric_limits<int>::max() - value_) {
    throw std::overflow_error("kin: too many permits in a semaphore");
  }
  value_ += count;
  // Its own first, then another's.
  for (auto at = held_.find(process); count > 0 && !held_.empty(); at = held_.begin()) {
    if (at == held_.end()) at = held_.begin();
    const int given = std::min(count, at->second);
    count -= given;
    at->second -= given;
    if (at->second == 0) held_.erase(at);
  }
}

void SemaphoreStore::take_back(std::uint64_t process) { release(process, 1); }

void SemaphoreStore::bury(DeadClient dead) {
  const auto found = held_.find(dead.process);
  if (found == held_.end()) return;
  value_ += found->second;
  held_.erase(found);
}

// ---- BarrierStore

BarrierStore::BarrierStore(int parties, Action action)
    : parties_(parties), action_(std::move(action)) {
  if (parties < 1) throw std::invalid_argument("kin: a barrier has at least one party");
}

std::optional<int> BarrierStore::wait(std::int64_t& generation, int& arrival) {
  if (arrival == -1) {
    if (is_broken_) throw BrokenBarrierError("the barrier is broken");
    // The action itself: it would wait for its own end.
    if (arrived_ == parties_) return std::nullopt;
    generation = generation_;
    arrival = arrived_++;
    if (arrived_ == parties_) {
      act();
      // It may have broken or reset the barrier.
      if (!is_broken_ && generation == generation_) {
        arrived_ = 0;
        ++generation_;
      }
    }
  }
  if (generation <= broken_up_to_) throw BrokenBarrierError("the barrier was broken, or reset");
  return generation < generation_ ? std::optional(arrival) : std::nullopt;
}

void BarrierStore::act() {
  if (!action_) return;
  try {
    action_();
  } catch (...) {
    abort();
    throw;
  }
}

void BarrierStore::leave(std::int64_t generation, int arrival) noexcept {
  if (arrival != -1 && generation == generation_) abort();
}

void BarrierStore::abort() noexcept {
  is_broken_ = true;
  broken_up_to_ = generation_;
}

void BarrierStore::reset() noexcept {
  if (arrived_ != 0) broken_up_to_ = generation_;
  arrived_ = 0;
  ++generation_;
  is_broken_ = false;
}

// ---- ConditionStore

bool ConditionStore::wait(std::uint64_t& ticket) {
  if (ticket == 0) {
    ticket = ++last_;
    waiting_.emplace(ticket, false);
    return false;
  }
  const auto found = waiting_.find(ticket);
  if (found == waiting_.end() || !found->second) return false;
  waiting_.erase(found);
  return true;
}

void ConditionStore::leave(std::uint64_t ticket) noexcept {
  const auto found = waiting_.find(ticket);
  if (found == waiting_.end()) return;
  const bool was_let_go = found->second;
  waiting_.erase(found);
  if (was_let_go) notify(1);
}

void ConditionStore::notify(std::size_t count) noexcept {
  for (auto& [ticket, is_let_go] : waiting_) {
    if (count == 0) return;
    if (is_let_go) continue;
    is_let_go = true;
    --count;
  }
}

}  // namespace kin::detail
