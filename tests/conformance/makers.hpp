// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "trial.hpp"

#include <utility>

namespace trial {

/// A Condition and its lock in one, as the manager has them.
class LockedCondition {
 public:
  void lock() const { lock_.lock(); }
  void unlock() const { lock_.unlock(); }
  template <typename... More>
  void wait(More&&... more) const {
    condition_.wait(lock_, std::forward<More>(more)...);
  }
  template <typename... More>
  bool wait_for(std::chrono::nanoseconds limit, More&&... more) const {
    return condition_.wait_for(lock_, limit, std::forward<More>(more)...);
  }
  void notify_one() const { condition_.notify_one(); }
  void notify(int count) const { condition_.notify(count); }
  void notify_all() const { condition_.notify_all(); }

 private:
  kin::Lock lock_;
  kin::Condition condition_;
};

/// Makes in shared memory what a manager makes in its server, by the same names. Rows with an M are tested
/// with both.
struct Here {
  [[nodiscard]] kin::Lock lock() const { return {}; }
  [[nodiscard]] kin::RLock rlock() const { return {}; }
  [[nodiscard]] kin::Semaphore semaphore(int value) const { return kin::Semaphore(value); }
  [[nodiscard]] kin::BoundedSemaphore bounded_semaphore(int value) const {
    return kin::BoundedSemaphore(value);
  }
  [[nodiscard]] kin::Event event() const { return {}; }
  [[nodiscard]] LockedCondition condition() const { return {}; }
  template <typename... More>
  [[nodiscard]] kin::Barrier barrier(kin::BarrierOptions options, int parties,
                                     More&&... action) const {
    return kin::Barrier(options, parties, std::forward<More>(action)...);
  }
  template <typename T>
  [[nodiscard]] kin::Queue<T> queue(std::ptrdiff_t max_size = 0) const {
    return kin::Queue<T>(max_size);
  }
  template <typename T>
  [[nodiscard]] kin::Value<T> value(const T& value) const {
    return kin::Value<T>(value);
  }
};

#define HERE_AND_MANAGED trial::Here, kin::Manager

}  // namespace trial
