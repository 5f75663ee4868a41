// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle_of.hpp>
#include <kin/detail/sent_function.hpp>
#include <kin/lock.hpp>

#include <boost/serialization/access.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

/// Locks, and other places where processes meet.
namespace kin {

/// What becomes of permits whose holder ends without a release().
enum class OnDeath {
  keep,      ///< they stay taken, for who releases them in its place
  give_back  ///< they are free again
};
inline constexpr OnDeath give_back = OnDeath::give_back;

struct SemaphoreOptions {
  OnDeath on_death = OnDeath::keep;
};
struct BoundedSemaphoreOptions {
  OnDeath on_death = OnDeath::give_back;
};

namespace detail {

using BarrierAction = SentFunction<Callback<void()>>;

/// What Semaphore and BoundedSemaphore have in common; see there.
class KIN_EXPORT SemaphoreHandle : public HandleOf<ObjectKind::semaphore> {
 public:
  /// Waits for a permit and takes it.
  void acquire() const { static_cast<void>(acquire_until(Deadline::never())); }
  /// False when there is none.
  [[nodiscard]] bool try_acquire() const { return acquire_until(Deadline::passed()); }
  /// False when there was none for that long. A negative duration means zero.
  template <typename Rep, typename Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> limit) const {
    return acquire_until(Deadline::after(limit));
  }
  template <typename Clock, typename Duration>
  [[nodiscard]] bool try_acquire_until(std::chrono::time_point<Clock, Duration> moment) const {
    return acquire_until(Deadline::at(moment));
  }
  /// Gives back so many permits, or adds them: also what others had taken.
  void release(int permits = 1) const;
  /// How many permits are free, at a moment during the call.
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
  void unlock() const { release(); }

 protected:
  SemaphoreHandle(int value, bool is_bounded, OnDeath on_death);

 private:
  [[nodiscard]] bool acquire_until(Deadline deadline) const;
};

}  // namespace detail

/// A number of permits that processes take and give back.
///
///     const kin::Semaphore items(0);
///     kin::Process child([items] { items.release(); });   // puts one there
///     child.start();
///     items.acquire();                                    // waits for it
///
/// It belongs to nobody: who releases need not be who acquired. At most 2^31 - 1 permits; 2^20 where
/// they are given back.
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same semaphore.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// After fork: the permits that the parent took stay the parent's.
/// If a process dies: it has taken a permit, or it has not. What it had taken stays taken, since
/// another may be about to release it; with the option `{.on_death = kin::give_back}` it is free again, at
/// most a quarter of a second after somebody waits for it, and a warning is logged. A release() gives back
/// a permit of the own process's then, if it has one, else another's. Such a semaphore guards what is used and
/// returned; where one process takes permits for good, they come back when that process ends, however it ends.
/// Throws: std::invalid_argument for a negative value; std::overflow_error from release().
/// Python: multiprocessing.Semaphore.
class KIN_EXPORT Semaphore : public detail::SemaphoreHandle {
 public:
  Semaphore() : Semaphore(1) {}
  explicit Semaphore(int value) : Semaphore(SemaphoreOptions{}, value) {}
  explicit Semaphore(SemaphoreOptions options, int value = 1)
      : SemaphoreHandle(value, false, options.on_death) {}
};

/// A Semaphore that never has more permits than at first: it guards so many of something.
///
///     const kin::BoundedSemaphore connections(3);
///     { std::scoped_lock guard(connections); … }
///
/// If a process dies: the permits that it holds are free again, as Semaphore with `kin::give_back`;
/// `{.on_death = kin::OnDeath::keep}` switches that off.
/// Throws: std::logic_error from release() of more than was taken.
/// Python: multiprocessing.BoundedSemaphore.
class KIN_EXPORT BoundedSemaphore : public detail::SemaphoreHandle {
 public:
  BoundedSemaphore() : BoundedSemaphore(1) {}
  explicit BoundedSemaphore(int value) : BoundedSemaphore(BoundedSemaphoreOptions{}, value) {}
  explicit BoundedSemaphore(BoundedSemaphoreOptions options, int value = 1)
      : SemaphoreHandle(value, true, options.on_death) {}
};

/// Lets processes wait until something that a lock guards has changed.
///
///     const kin::Lock lock;
///     const kin::Condition changed;
///     // who waits
///     const std::scoped_lock guard(lock);
///     changed.wait(lock, [&] { return count.load() == 4; });
///     // who changes it
///     const std::scoped_lock guard(lock);
///     count.store(4);
///     changed.notify_all();
///
/// Every wait names the lock, a Lock, an RLock (of any depth) or a std::unique_lock of one, that this
/// thread holds; it is let go of while the thread waits and held again when wait() returns or throws. Who
/// has waited longest is woken first. A notification is for those who wait at that time.
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same condition.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// If a process dies: a notification that a waiter got and did not live to take the lock with goes to
/// the next, within a quarter of a second. If the lock's holder dies, waiters are woken to be told by
/// the lock's owner_died(): so look at what you wait for, as ever.
/// Throws: std::logic_error from wait() with a lock that this thread does not hold.
/// Python: multiprocessing.Condition, which has the lock inside.
class KIN_EXPORT Condition : public detail::HandleOf<detail::ObjectKind::condition> {
 public:
  Condition();

  /// Waits for a notification.
  void wait(const detail::LockHandle& lock) const {
    static_cast<void>(wait_until(lock, detail::Deadline::never()));
  }
  /// Waits until `ready()` is true; looks before it waits.
  template <std::predicate Ready>
  void wait(const detail::LockHandle& lock, Ready&& ready) const {
    while (!std::invoke(ready)) wait(lock);
  }
  /// Whether there was a notification within that time.
  template <typename Rep, typename Period>
  bool wait_for(const detail::LockHandle& lock, std::chrono::duration<Rep, Period> limit) const {
    return wait_until(lock, detail::Deadline::after(limit));
  }
  /// Whether `ready()` became true within that time.
  template <typename Rep, typename Period, std::predicate Ready>
  [[nodiscard]] bool wait_for(const detail::LockHandle& lock,
                              std::chrono::duration<Rep, Period> limit, Ready&& ready) const {
    const auto deadline = detail::Deadline::after(limit);
    while (!std::invoke(ready)) {
      if (!wait_until(lock, deadline)) return std::invoke(ready);
    }
    return true;
  }

  /// All of these with the std::unique_lock that holds the lock.
  template <std::derived_from<detail::LockHandle> SomeLock, typename... More>
  void wait(const std::unique_lock<const SomeLock>& lock, More&&... more) const {
    wait(held_by(lock), std::forward<More>(more)...);
  }
  template <std::derived_from<detail::LockHandle> SomeLock, typename... More>
  void wait(const std::unique_lock<SomeLock>& lock, More&&... more) const {
    wait(held_by(lock), std::forward<More>(more)...);
  }
  template <std::derived_from<detail::LockHandle> SomeLock, typename... More>
  bool wait_for(const std::unique_lock<const SomeLock>& lock, More&&... more) const {
    return wait_for(held_by(lock), std::forward<More>(more)...);
  }
  template <std::derived_from<detail::LockHandle> SomeLock, typename... More>
  bool wait_for(const std::unique_lock<SomeLock>& lock, More&&... more) const {
    return wait_for(held_by(lock), std::forward<More>(more)...);
  }

  /// Wakes the one who has waited longest. Need not hold the lock, but usually should.
  void notify_one() const { notify(1); }
  /// Wakes the `count` who have waited longest; fewer if there are fewer.
  void notify(int count) const;
  void notify_all() const;

 private:
  template <typename SomeLock>
  static const detail::LockHandle& held_by(const std::unique_lock<SomeLock>& lock) {
    if (!lock.owns_lock()) complain_not_held();
    return *lock.mutex();
  }
  [[noreturn]] static void complain_not_held();
  bool wait_until(const detail::LockHandle& lock, detail::Deadline deadline) const;
};

/// A flag that processes wait for.
///
///     const kin::Event ready;
///     kin::Process child([ready] { ready.wait(); … });
///     child.start();
///     ready.set();
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same event.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// If a process dies: it has set the event, or it has not; nobody else is harmed.
/// Python: multiprocessing.Event; but here set() lets go on whoever waits then, also if it is cleared
/// before they run.
class KIN_EXPORT Event : public detail::HandleOf<detail::ObjectKind::event> {
 public:
  Event();

  [[nodiscard]] bool is_set() const;
  void set() const;
  void clear() const;
  /// Waits until it is set.
  void wait() const { static_cast<void>(wait_until(detail::Deadline::never())); }
  /// False when it was not set for that long. A negative duration means zero.
  template <typename Rep, typename Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    return wait_until(detail::Deadline::after(limit));
  }

 private:
  [[nodiscard]] bool wait_until(detail::Deadline deadline) const;
};

struct BarrierOptions {
  /// How long a wait() lasts at most, if it does not say itself.
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
};

/// Where a number of parties wait for one another, again and again.
///
///     const kin::Barrier barrier(5);
///     // each of five processes
///     barrier.wait();   // goes on when all five are here
///
/// A barrier that is broken stays so until reset(): a wait that runs into its time limit breaks it, and
/// so do abort(), an action that throws, and deaths.
///
/// An action is called by the last to arrive, before anybody goes on. It has to be copyable. Where the
/// barrier is sent in a message the action travels with it, so it must be one that can: a function, a
/// lambda whose captures are plain, or a kin::partial.
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same barrier; one
/// made without arguments names none until it is assigned to.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// If a process dies: the barrier breaks, as soon as somebody waits a quarter of a second, if that
/// process had arrived there or was about to, or was killed or failed after it had passed the last time.
/// One that had never arrived is a matter for the time limit. What was killed counts, and what ended with an
/// exit code other than 0; for a process made by somebody's plain fork() the end as such.
/// Throws: BrokenBarrierError; std::invalid_argument for fewer parties than 1 or more than 2^20.
/// Python: multiprocessing.Barrier.
class KIN_EXPORT Barrier : public detail::HandleOf<detail::ObjectKind::barrier> {
 public:
  Barrier() noexcept = default;
  explicit Barrier(int parties) : Barrier(BarrierOptions{}, parties) {}
  Barrier(BarrierOptions options, int parties);
  template <std::copy_constructible Action>
    requires std::invocable<const Action&>
  Barrier(int parties, Action action) : Barrier(BarrierOptions{}, parties, std::move(action)) {}
  template <std::copy_constructible Action>
    requires std::invocable<const Action&>
  Barrier(BarrierOptions options, int parties, Action action) : Barrier(options, parties) {
    action_ = detail::BarrierAction(std::move(action));
  }

  /// Waits until all parties are here. Returns how many were here before this one: one of them gets 0.
  /// Throws: BrokenBarrierError; what the action throws.
  std::size_t wait() const;
  /// The same with another time limit than the barrier's.
  template <typename Rep, typename Period>
  std::size_t wait_for(std::chrono::duration<Rep, Period> limit) const {
    return wait_until(detail::Deadline::after(limit));
  }

  /// As new. Who waits gets BrokenBarrierError.
  void reset() const;
  /// Breaks it: who waits, and who comes, gets BrokenBarrierError.
  void abort() const;

  [[nodiscard]] int parties() const;
  /// How many wait, at a moment during the call.
  [[nodiscard]] int n_waiting() const;
  [[nodiscard]] bool broken() const;

  friend bool operator==(const Barrier& left, const Barrier& right) {
    return static_cast<const HandleOf&>(left) == right;
  }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    travel(archive);
    action_.travel(archive);
  }
  std::size_t wait_until(detail::Deadline deadline) const;

  detail::BarrierAction action_;
};

}  // namespace kin
