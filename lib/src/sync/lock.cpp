// SPDX-License-Identifier: BSL-1.0
//
// Lock and RLock: a robust lock in shared memory with a note of who holds it. The note is for people
// and for unlock()'s check; the lock itself is the truth.

#include <kin/lock.hpp>

#include "base/thread_id.hpp"
#include "memory/object.hpp"
#include "os/fork.hpp"
#include "waiting/robust_lock.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <stdexcept>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

/// Writers: the holder; the notes are cleared before the lock is free.
struct LockObject : Object {
  RobustLock lock;
  std::atomic<pid_t> holder_thread;   // 0: free, or only just taken
  std::atomic<Stamp> holder_process;  // stays when the holder dies, for the warning
  std::atomic<std::uint32_t> depth;
  std::atomic<std::uint32_t> owner_died;
};
static_assert(sizeof(LockObject) <= Heap::lock_size);

// The kernel walks 2048 robust locks of a thread that ends; kin itself needs a few of them.
constexpr int most_held = 1000;

// How many this thread holds, in this process: a fork copies the number, but not what is held.
struct Held {
  Stamp process;
  int count;
};
[[gnu::tls_model("initial-exec")]] thread_local Held held{};

LockObject& lock_in(Object& object) { return static_cast<LockObject&>(object); }

bool is_holder(const LockObject& lock) {
  return lock.holder_thread.load(std::memory_order_relaxed) == thread_id() &&
         lock.holder_process.load(std::memory_order_relaxed) == this_process_or_none();
}

void tell_of_death(LockObject& lock) {
  const Stamp dead = lock.holder_process.load();
  lock.owner_died.store(1);
  lock.depth.store(0);
  // If killed before this: the next holder is told in our place.
  lock.lock.make_consistent();
  std::string who = "a process";
  if (dead != 0) {
    who = "process " + name_of(dead) + " (pid " + std::to_string(pid_of(dead)) + ")";
  }
  log(LogLevel::warning, "a lock was taken over: " + who +
                             " or its thread ended while it held it; what it guards may be half"
                             " changed");
}

// A lock that somebody still holds is leaked: its word is on the list of a living thread.
bool end_lock(Object& object) { return !lock_in(object).lock.is_held(); }

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::lock, end_lock);
  return true;
}();

}  // namespace

LockHandle::LockHandle(Kind kind)
    : HandleOf(Handle(make_object(ObjectKind::lock, sizeof(LockObject),
                                  [](Object& object) { lock_in(object).lock.initialize(); }))),
      kind_(kind) {}

bool LockHandle::lock_until(Deadline deadline) const {
  LockObject& lock = lock_in(object());
  if (kind_ == Kind::recursive && is_holder(lock)) {
    lock.depth.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  const Stamp own = this_process();
  if (held.process != own) held = {own, 0};
  if (held.count >= most_held) {
    throw std::logic_error("kin: this thread holds 1000 locks already");
  }
  const auto found = lock.lock.lock_until(deadline, [] { SoftLimit::check(); });
  if (!found) return false;
  // If killed from here on: the next holder is told.
  if (*found == RobustLock::Found::owner_died) tell_of_death(lock);
  ++held.count;
  // Relaxed: the lock orders them for holders; for owner() they are a snapshot.
  lock.holder_process.store(own, std::memory_order_relaxed);
  lock.holder_thread.store(thread_id(), std::memory_order_relaxed);
  if (kind_ == Kind::recursive) lock.depth.store(1, std::memory_order_relaxed);
  return true;
}

void LockHandle::unlock() const {
  LockObject& lock = lock_in(object());
  if (!is_holder(lock)) {
    throw std::logic_error("kin: unlock() of a lock that this thread does not hold");
  }
  if (kind_ == Kind::recursive && lock.depth.fetch_sub(1, std::memory_order_relaxed) > 1) return;
  if (lock.owner_died.load(std::memory_order_relaxed) != 0) lock.owner_died.store(0);
  lock.holder_thread.store(0, std::memory_order_relaxed);
  lock.holder_process.store(0, std::memory_order_relaxed);
  --held.count;
  // If killed here: the next holder is told, although all was done.
  lock.lock.unlock();
}

std::optional<LockOwner> LockHandle::owner() const {
  const LockObject& lock = lock_in(object());
  const pid_t thread = lock.holder_thread.load();
  const Stamp process = lock.holder_process.load();
  if (thread == 0 || process == 0 || is_gone(process)) return std::nullopt;
  // The notes of a thread that ended stay, in a process that lives on.
  if (!lock.lock.is_held()) return std::nullopt;
  return LockOwner{pid_of(process), thread, name_of(process)};
}

bool LockHandle::owner_died() const {
  const LockObject& lock = lock_in(object());
  return is_holder(lock) && lock.owner_died.load() != 0;
}

unsigned LockHandle::depth_of_this_thread() const {
  const LockObject& lock = lock_in(object());
  return is_holder(lock) ? lock.depth.load() : 0;
}

unsigned LockHandle::unlock_all() const {
  LockObject& lock = lock_in(object());
  if (!is_holder(lock)) return 0;
  const unsigned times = kind_ == Kind::recursive ? lock.depth.load() : 1;
  if (kind_ == Kind::recursive) lock.depth.store(1);
  unlock();
  return times;
}

void LockHandle::lock_again(unsigned times) const {
  const SoftLimit no_limit;
  static_cast<void>(lock_until(Deadline::never()));
  if (kind_ == Kind::recursive) lock_in(object()).depth.store(times);
}

bool LockHandle::is_left_by_the_dead() const {
  const RobustLock& lock = lock_in(object()).lock;
  return !lock.is_held() && !lock.is_at_rest();
}

}  // namespace kin::detail
