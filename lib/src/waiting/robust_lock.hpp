// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "waiting/futex.hpp"
#include "waiting/robust_list.hpp"

#include <kin/detail/deadline.hpp>

#include <cassert>
#include <cstdint>
#include <mutex>
#include <optional>

#include <pthread.h>
#include <sys/types.h>

namespace kin::detail {

/// A lock between processes whose holder may be killed: a robust, process-shared pthread mutex.
///
/// The kernel marks it when the *thread* that holds it ends, however it ends, and the next to lock
/// it is told. That one repairs what the lock guards and then calls make_consistent(); killed before
/// that, the one after it is told as well.
///
/// Where it lives: in shared memory that stays a lock for ever, as the kernel may still write to the
/// word of a lock whose holder is ending.
/// Not recursive; a thread that locks what it holds gets DeadlockError.
/// After fork: what the parent's thread holds it goes on holding; the child holds nothing.
class RobustLock {
 public:
  enum class Found { clean, owner_died };

  /// How long one waits before one looks around. Another in tests only.
  static inline std::int64_t slice = slice_nanoseconds;

  /// Makes it ready, in memory that holds no lock or one that nobody uses any more.
  void initialize() noexcept;

  Found lock() {
    const int result = take();
    // Without an end it waits until it has it. NOLINTNEXTLINE(bugprone-unchecked-optional-access)
    return result == 0 ? Found::clean : *lock_slowly(result, Deadline::never(), [] {});
  }
  /// Does not wait; none when another thread holds it.
  std::optional<Found> try_lock() { return lock_until(Deadline::passed()); }
  /// None when the time is up.
  std::optional<Found> lock_until(Deadline deadline) {
    const int result = take();
    return result == 0 ? std::optional(Found::clean) : lock_slowly(result, deadline, [] {});
  }
  /// The same. Before each slice of sleep, unless the deadline is its end, it calls `look_around()`, which
  /// may throw.
  std::optional<Found> lock_until(Deadline deadline, FunctionRef<void()> look_around) {
    const int result = take();
    return result == 0 ? std::optional(Found::clean) : lock_slowly(result, deadline, look_around);
  }

  /// Only where it is free and was left clean; false says nothing more.
  bool lock_at_once() noexcept {
    RobustList* own = RobustList::own();
    return own != nullptr && own->take(mutex_);
  }

  void make_consistent() noexcept { pthread_mutex_consistent(&mutex_); }
  /// Whether a thread holds it that the kernel has not marked as ended.
  [[nodiscard]] bool is_held() const noexcept;
  /// That thread's id; 0 where there is none.
  [[nodiscard]] pid_t holder_thread() const noexcept;
  /// Whether it is free, and no dead holder left it: then nothing that it guards is half done.
  [[nodiscard]] bool is_at_rest() const noexcept;
  /// Marks it if its holder has ended and the kernel has not marked it. Who waits for it does so once a
  /// slice; for who only looks at it. A system call, where it is held.
  void recover_unmarked() noexcept;
  /// False when this thread does not hold it.
  bool unlock() noexcept {
    RobustList* own = RobustList::own();
    if (own != nullptr && own->release(mutex_)) return true;
    return release_by_glibc();
  }

 private:
  int take() noexcept { return lock_at_once() ? 0 : take_by_glibc(); }
  int take_by_glibc() noexcept;
  bool release_by_glibc() noexcept;
  std::optional<Found> lock_slowly(int result, Deadline deadline, FunctionRef<void()> look_around);
  [[nodiscard]] bool looks_free() const noexcept;

  pthread_mutex_t mutex_;
};

/// Holds a RobustLock for a scope. `recover()` is run first when the holder before has died; it must
/// do no harm when run again, since whoever runs it may be killed in the middle.
class RobustGuard {
 public:
  template <typename Recover>
  RobustGuard(RobustLock& lock, Recover&& recover) : lock_(&lock) {
    if (lock.lock() == RobustLock::Found::owner_died) repair(recover);
  }
  /// Does not wait for the lock; holds() tells.
  template <typename Recover>
  RobustGuard(std::try_to_lock_t, RobustLock& lock, Recover&& recover)
      : RobustGuard(lock, Deadline::passed(), recover) {}
  /// Waits for it so long; holds() tells.
  template <typename Recover>
  RobustGuard(RobustLock& lock, Deadline deadline, Recover&& recover)
      : RobustGuard(
            lock, deadline, [] {}, recover) {}
  /// The same; `look_around()` as in RobustLock::lock_until().
  template <typename Recover>
  RobustGuard(RobustLock& lock, Deadline deadline, FunctionRef<void()> look_around,
              Recover&& recover)
      : lock_(&lock) {
    if (lock.lock_at_once()) return;
    const auto found = lock.lock_until(deadline, look_around);
    if (!found) {
      lock_ = nullptr;
    } else if (*found == RobustLock::Found::owner_died) {
      repair(recover);
    }
  }
  ~RobustGuard() {
    if (lock_ == nullptr) return;
    [[maybe_unused]] const bool was_held = lock_->unlock();
    assert(was_held);
  }
  RobustGuard(const RobustGuard&) = delete;
  RobustGuard& operator=(const RobustGuard&) = delete;

  [[nodiscard]] bool holds() const noexcept { return lock_ != nullptr; }

 private:
  // Where a repair fails, this process ends, and the next holder is told in its place.
  template <typename Recover>
  void repair(Recover& recover) noexcept {
    recover();
    // If killed before this: the next holder is told as well, and repairs again.
    lock_->make_consistent();
  }

  RobustLock* lock_ = nullptr;
};

}  // namespace kin::detail
