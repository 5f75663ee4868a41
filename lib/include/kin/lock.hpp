// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle_of.hpp>

#include <chrono>
#include <optional>
#include <source_location>
#include <string>

#include <sys/types.h>

namespace kin {

/// The thread that holds a lock.
struct LockOwner {
  pid_t pid;
  pid_t thread;              ///< as gettid() tells
  std::string process_name;  ///< at most 63 characters of it
};

struct LockOptions {
  /// What it is called in messages to people; at most 47 bytes of it. Without a name it is lock #3, in the
  /// order in which they were made.
  std::string name = {};
};

class Condition;
class LockGuard;

namespace detail {

/// What Lock and RLock have in common; see there.
class KIN_EXPORT LockHandle : public HandleOf<ObjectKind::lock> {
 public:
  /// Waits for the lock. `where` is told to people, should it come to a deadlock; so in all of these.
  void lock(std::source_location where = std::source_location::current()) const {
    static_cast<void>(lock_until(Deadline::never(), where));
  }
  /// False when another thread holds it.
  [[nodiscard]] bool try_lock(std::source_location where = std::source_location::current()) const {
    return lock_until(Deadline::passed(), where);
  }
  /// False when another thread held it for that long. A negative duration means zero.
  template <typename Rep, typename Period>
  [[nodiscard]] bool try_lock_for(
      std::chrono::duration<Rep, Period> limit,
      std::source_location where = std::source_location::current()) const {
    return lock_until(Deadline::after(limit), where);
  }
  template <typename Clock, typename Duration>
  [[nodiscard]] bool try_lock_until(
      std::chrono::time_point<Clock, Duration> moment,
      std::source_location where = std::source_location::current()) const {
    return lock_until(Deadline::at(moment), where);
  }
  void unlock() const;

  /// Whether a living thread holds it, at a moment during the call.
  [[nodiscard]] bool locked() const { return owner().has_value(); }
  /// Who holds it, at a moment during the call.
  [[nodiscard]] std::optional<LockOwner> owner() const;
  /// Whether this thread does; not the child of a fork while it did.
  [[nodiscard]] bool held_by_this_thread() const;
  /// For the thread that holds it: whether its holder before was killed while it held it, so that
  /// what the lock guards may be half changed.
  [[nodiscard]] bool owner_died() const;

  /// Whether both name the same lock.
  friend bool operator==(const LockHandle&, const LockHandle&) = default;

 protected:
  enum class Kind { plain, recursive };
  LockHandle(Kind kind, const LockOptions& options);
  [[nodiscard]] unsigned depth_of_this_thread() const;

 private:
  friend class kin::Condition;
  friend class kin::LockGuard;
  [[nodiscard]] bool lock_until(Deadline deadline, std::source_location where) const;
  /// How often this thread has taken it, and where the first time.
  struct Hold {
    unsigned times = 0;
    std::source_location where;
  };
  /// For a wait on a condition, by who holds it: lets go of it however often it was taken, and takes it again so.
  [[nodiscard]] Hold unlock_all() const;
  void lock_again(const Hold& hold) const;
  /// Whether its holder died, and nobody has taken it since.
  [[nodiscard]] bool is_left_by_the_dead() const;

  Kind kind_;
};

}  // namespace detail

/// A lock between processes, and between threads.
///
///     kin::Lock lock;
///     kin::Process child([lock] { std::scoped_lock guard(lock); … });
///
/// It belongs to the thread that took it, as std::mutex does. It works with std::scoped_lock,
/// std::unique_lock and std::lock. At most 1000 are held by a thread at a time.
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same lock.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// After fork: what the parent's thread holds it goes on holding; the child holds nothing.
/// If a process dies: the next to lock it is told by owner_died(), and a warning is logged; then the
/// lock works on. The same if a thread ends while it holds it.
/// Throws: DeadlockError from lock() in the thread that holds it already, and where several threads wait
/// for one another's locks in a ring, in one of them; std::logic_error from unlock() in another thread, or
/// unlocked, and for a 1001st lock.
/// Python: multiprocessing.Lock; for hand-over between threads there is Semaphore(1).
class KIN_EXPORT Lock : public detail::LockHandle {
 public:
  Lock() : Lock(LockOptions{}) {}
  explicit Lock(const LockOptions& options) : LockHandle(Kind::plain, options) {}
};

/// A Lock that the thread that holds it may take again; it is free after as many unlocks.
///
/// If a process dies: as Lock; all of its holds end at once.
/// Python: multiprocessing.RLock.
class KIN_EXPORT RLock : public detail::LockHandle {
 public:
  RLock() : RLock(LockOptions{}) {}
  explicit RLock(const LockOptions& options) : LockHandle(Kind::recursive, options) {}
  /// How often this thread holds it; 0 if it does not.
  [[nodiscard]] unsigned depth() const { return depth_of_this_thread(); }
};

/// Holds a Lock or an RLock for a scope, as std::lock_guard does, and knows where that is: messages about
/// deadlocks then tell the line in which it stands, and not one of the standard library's.
///
///     const kin::LockGuard guard(lock);
///
/// After fork: in the child the copy does nothing.
class KIN_EXPORT LockGuard {
 public:
  [[nodiscard]] explicit LockGuard(const detail::LockHandle& lock,
                                   std::source_location where = std::source_location::current())
      : lock_(lock) {
    lock_.lock(where);
  }
  ~LockGuard();
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  const detail::LockHandle& lock_;
};

}  // namespace kin
