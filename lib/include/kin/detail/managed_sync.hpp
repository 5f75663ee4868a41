// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/sync_stores.hpp>
#include <kin/proxy.hpp>
#include <kin/sync.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <utility>

namespace kin::managed {

/// A lock in a manager's server. A std Lockable, as kin::Lock, and a call slower; but it may be unlocked by
/// any client.
///
///     auto lock = manager.lock();
///     std::scoped_lock guard(lock);
///
/// If a process dies: the lock is free within half a second; the next holder is told by owner_died(). A thread
/// that ends without its process keeps it.
/// Throws: as Proxy, but not from unlock() when the server died; std::logic_error from unlock() when nobody
/// holds it.
/// Python: manager.Lock().
class KIN_EXPORT Lock : public Proxy<detail::LockStore> {
 public:
  Lock() noexcept = default;
  explicit Lock(Proxy<detail::LockStore> proxy) : Proxy<detail::LockStore>(std::move(proxy)) {}

  void lock() const { static_cast<void>(lock_until(detail::Deadline::never())); }
  [[nodiscard]] bool try_lock() const { return lock_until(detail::Deadline::passed()); }
  template <typename Rep, typename Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> limit) const {
    return lock_until(detail::Deadline::after(limit));
  }
  template <typename Clock, typename Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> moment) const {
    return lock_until(detail::Deadline::at(moment));
  }
  /// Nothing where the server died: guards unlock in their destructors, and the next call tells of it.
  void unlock() const;
  [[nodiscard]] bool locked() const;
  /// Of the holder: whether the one before it died with the lock.
  [[nodiscard]] bool owner_died() const;

 private:
  friend class Condition;
  [[nodiscard]] bool lock_until(detail::Deadline deadline) const;
  void lock_again() const;
};

/// One that the thread which holds it may lock again, and nobody else may unlock.
/// Python: manager.RLock().
class RLock : public Lock {
 public:
  RLock() noexcept = default;
  explicit RLock(Proxy<detail::LockStore> proxy) : Lock(std::move(proxy)) {}
};

/// Permits in a manager's server.
///
/// If a process dies: what it holds stays taken, of a BoundedSemaphore it is free again within half a second.
/// Throws: as Proxy; std::logic_error when a bounded one is released more often than acquired,
/// std::overflow_error when another gets more permits than an int can count.
/// Python: manager.Semaphore(), manager.BoundedSemaphore().
class KIN_EXPORT Semaphore : public Proxy<detail::SemaphoreStore> {
 public:
  Semaphore() noexcept = default;
  explicit Semaphore(Proxy<detail::SemaphoreStore> proxy)
      : Proxy<detail::SemaphoreStore>(std::move(proxy)) {}

  void acquire() const { static_cast<void>(acquire_until(detail::Deadline::never())); }
  [[nodiscard]] bool try_acquire() const { return acquire_until(detail::Deadline::passed()); }
  template <typename Rep, typename Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> limit) const {
    return acquire_until(detail::Deadline::after(limit));
  }
  template <typename Clock, typename Duration>
  [[nodiscard]] bool try_acquire_until(std::chrono::time_point<Clock, Duration> moment) const {
    return acquire_until(detail::Deadline::at(moment));
  }
  void release(int permits = 1) const;
  [[nodiscard]] int value() const;

  /// The same under the names that std::scoped_lock and std::unique_lock ask for.
  void lock() const { acquire(); }
  [[nodiscard]] bool try_lock() const { return try_acquire(); }
  template <typename Rep, typename Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> limit) const {
    return try_acquire_for(limit);
  }
  template <typename Clock, typename Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> moment) const {
    return try_acquire_until(moment);
  }
  /// Nothing where the server died, as of a Lock.
  void unlock() const;

 private:
  [[nodiscard]] bool acquire_until(detail::Deadline deadline) const;
};

class BoundedSemaphore : public Semaphore {
 public:
  BoundedSemaphore() noexcept = default;
  explicit BoundedSemaphore(Proxy<detail::SemaphoreStore> proxy) : Semaphore(std::move(proxy)) {}
};

/// A flag that clients wait for.
/// Python: manager.Event().
class KIN_EXPORT Event : public Proxy<detail::EventStore> {
 public:
  Event() noexcept = default;
  explicit Event(Proxy<detail::EventStore> proxy) : Proxy<detail::EventStore>(std::move(proxy)) {}

  [[nodiscard]] bool is_set() const;
  void set() const;
  void clear() const;
  void wait() const { static_cast<void>(wait_until(detail::Deadline::never())); }
  /// False when the time is up.
  template <typename Rep, typename Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    return wait_until(detail::Deadline::after(limit));
  }

 private:
  [[nodiscard]] bool wait_until(detail::Deadline deadline) const;
};

/// Where a number of clients wait for one another, again and again.
///
/// An action is called in the server, by the last who comes, before anybody goes on. If it throws, the
/// barrier is broken, and the last gets what it threw.
///
/// If a process dies: the barrier breaks, if it waited there.
/// Throws: as Proxy; BrokenBarrierError from wait() when the barrier is broken, and from wait_for() when its
/// time is up, which breaks it.
/// Python: manager.Barrier().
class KIN_EXPORT Barrier : public Proxy<detail::BarrierStore> {
 public:
  Barrier() noexcept = default;
  explicit Barrier(Proxy<detail::BarrierStore> proxy, BarrierOptions options = {})
      : Proxy<detail::BarrierStore>(std::move(proxy)),
        timeout_(options.timeout.value_or(std::chrono::nanoseconds::max()).count()) {}

  /// Which of the parties this one is: as they came, from 0.
  int wait() const { return wait_for(std::chrono::nanoseconds(timeout_)); }
  /// The same with another time limit than the barrier's.
  template <typename Rep, typename Period>
  int wait_for(std::chrono::duration<Rep, Period> limit) const {
    return wait_until(detail::Deadline::after(limit));
  }
  /// Breaks it: who waits, and who comes, gets BrokenBarrierError.
  void abort() const;
  /// As new. Who waits gets BrokenBarrierError.
  void reset() const;
  [[nodiscard]] int parties() const;
  [[nodiscard]] int n_waiting() const;
  [[nodiscard]] bool broken() const;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& static_cast<Proxy<detail::BarrierStore>&>(*this);
    archive& timeout_;
  }
  int wait_until(detail::Deadline deadline) const;

  std::int64_t timeout_ = std::chrono::nanoseconds::max().count();
};

/// Waiting for something that others tell of, with a lock around it.
///
///     auto condition = manager.condition();
///     condition.lock();
///     condition.wait([&] { return numbers.size() > 0; });
///     condition.unlock();
///
/// After a wait the lock is held again, also when the time was up.
/// If a process dies: the lock is free; and what it was notified of is another's, unless it had let go of the lock
/// behind its wait.
/// Throws: as Proxy; std::logic_error when the lock is not held.
/// Python: manager.Condition().
class KIN_EXPORT Condition : public Proxy<detail::ConditionStore> {
 public:
  Condition() noexcept = default;
  Condition(Proxy<detail::ConditionStore> proxy, Lock lock)
      : Proxy<detail::ConditionStore>(std::move(proxy)), lock_(std::move(lock)) {}

  void lock() const { lock_.lock(); }
  [[nodiscard]] bool try_lock() const { return lock_.try_lock(); }
  void unlock() const { lock_.unlock(); }

  void wait() const { static_cast<void>(wait_until(detail::Deadline::never())); }
  template <std::predicate Predicate>
  void wait(Predicate&& predicate) const {
    while (!predicate()) wait();
  }
  /// False when the time is up.
  template <typename Rep, typename Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    return wait_until(detail::Deadline::after(limit));
  }
  template <typename Rep, typename Period, std::predicate Predicate>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit,
                              Predicate&& predicate) const {
    const detail::Deadline deadline = detail::Deadline::after(limit);
    while (!predicate()) {
      if (!wait_until(deadline)) return predicate();
    }
    return true;
  }
  void notify_one() const { notify(1); }
  void notify(int count) const;
  void notify_all() const;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& static_cast<Proxy<detail::ConditionStore>&>(*this);
    archive& lock_;
  }

  bool wait_until(detail::Deadline deadline) const;

  Lock lock_;
};

}  // namespace kin::managed
