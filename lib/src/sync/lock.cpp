// SPDX-License-Identifier: BSL-1.0
//
// Lock and RLock: a robust lock in shared memory with notes of who holds it, and since where. The notes are
// for people, for unlock()'s check, and for the search for deadlocks; the lock itself is the truth.
//
// Who waits for long looks for a ring between its slices of sleep. All that this costs who need not wait are
// two stores of notes, to a cache line that is the holder's anyway.

#include <kin/lock.hpp>

#include "base/log_text.hpp"
#include "base/thread_id.hpp"
#include "deadlock/lock_object.hpp"
#include "deadlock/report.hpp"
#include "deadlock/waiting.hpp"
#include "os/fork.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <stdexcept>

#ifndef KIN_DEADLOCK_DETECTION
#define KIN_DEADLOCK_DETECTION 1
#endif

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

// The kernel walks 2048 robust locks of a thread that ends; kin itself needs a few of them.
constexpr int most_held = 1000;

// How many this thread holds, in this process: a fork copies the number, but not what is held.
struct Held {
  Stamp process;
  int count;
};
[[gnu::tls_model("initial-exec")]] thread_local Held held{};

LockObject& lock_in(Object& object) { return static_cast<LockObject&>(object); }

// The notes of a thread that ended with the lock stay until the next has it; and a later thread may have
// been given its id.
bool is_holder(const LockObject& lock) {
  return lock.lock.holder_thread() == thread_id() &&
         lock.holder_thread.load(std::memory_order_relaxed) == thread_id() &&
         lock.holder_process.load(std::memory_order_relaxed) == this_process_or_none();
}

void tell_of_death(LockObject& lock) {
  const Stamp dead = lock.holder_process.load();
  lock.owner_died.store(1);
  lock.depth.store(0);
  // If killed before this: the next holder is told in our place.
  lock.lock.make_consistent();
  log_text(LogLevel::warning, [&] {
    std::string who = "a process";
    if (dead != 0) {
      who = "process " + name_of(dead) + " (pid " + std::to_string(pid_of(dead)) + ")";
    }
    return "a lock was taken over: " + who +
           " or its thread ended while it held it; what it guards may be half changed";
  });
}

Wait wait_for(const LockObject& lock, WaitKind kind, std::source_location where) {
  const bool may_throw = kind == WaitKind::lock;
  return {.kind = kind,
          .flags = static_cast<std::uint8_t>(WaitFlags::for_ever |
                                             (may_throw ? WaitFlags::may_throw : 0)),
          .target = target_of(lock),
          .where = where};
}

[[noreturn]] void complain_of_oneself(const LockObject& lock, std::source_location where) {
  Edge edge{wait_for(lock, WaitKind::lock, where), holder_of(lock).value_or(Holder{})};
  edge.wait.process = this_process();
  edge.wait.thread = thread_id();
  throw deadlock_error({edge});
}

void tell_of_holder(const LockObject& lock) {
  log_text(LogLevel::info, [&] { return "a wait came to its time limit: for " + lock_text(lock); });
}

// For one that was not to be had at once.
[[gnu::noinline]] bool wait_until_taken(LockObject& lock, Deadline deadline, WaitKind kind,
                                        std::source_location where) {
  if (deadline.is_never() && is_holder(lock)) complain_of_oneself(lock, where);
  Waiting waiting(wait_for(lock, kind, where), deadline);
  const auto found = lock.lock.lock_until(deadline, [&] {
    SoftLimit::check([&] { return lock_text(lock); });
    waiting.look_around();
  });
  if (found) {
    // If killed from here on: the next holder is told.
    if (*found == RobustLock::Found::owner_died) tell_of_death(lock);
    return true;
  }
  if (!deadline.is_passed_from_start()) tell_of_holder(lock);
  return false;
}

void note_holder(LockObject& lock, Stamp own, std::source_location where) {
  // Relaxed: the lock orders them for holders; for others they are a snapshot, which who draws conclusions
  // reads again after a while.
#if KIN_DEADLOCK_DETECTION
  // So that one that was given back and taken again is not taken for one that was held all the time.
  lock.taken.store(lock.taken.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  lock.where.store(where, std::memory_order_relaxed);
#else
  static_cast<void>(where);
#endif
  lock.holder_process.store(own, std::memory_order_relaxed);
  lock.holder_thread.store(thread_id(), std::memory_order_relaxed);
}

bool take(LockObject& lock, bool is_recursive, Deadline deadline, WaitKind kind,
          std::source_location where) {
  if (is_recursive && is_holder(lock)) {
    lock.depth.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  const Stamp own = this_process();
  if (held.process != own) held = {own, 0};
  if (held.count >= most_held) {
    throw std::logic_error("kin: this thread holds 1000 locks already");
  }
  if (!lock.lock.lock_at_once() && !wait_until_taken(lock, deadline, kind, where)) return false;
  // If killed from here on: the next holder is told.
  ++held.count;
  note_holder(lock, own, where);
  if (is_recursive) lock.depth.store(1, std::memory_order_relaxed);
  return true;
}

// A lock that somebody still holds is leaked: its word is on the list of a living thread.
bool end_lock(Object& object) { return !lock_in(object).lock.is_held(); }

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::lock, end_lock);
  return true;
}();

}  // namespace

LockHandle::LockHandle(Kind kind, const LockOptions& options)
    : HandleOf(Handle(make_object(ObjectKind::lock, sizeof(LockObject),
                                  [&](Object& object) {
                                    LockObject& lock = lock_in(object);
                                    lock.lock.initialize();
                                    lock.number.store(next_lock_number());
                                    lock.set_name(options.name);
                                  }))),
      kind_(kind) {}

bool LockHandle::lock_until(Deadline deadline, std::source_location where) const {
  return take(lock_in(object()), kind_ == Kind::recursive, deadline, WaitKind::lock, where);
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

bool LockHandle::held_by_this_thread() const { return is_holder(lock_in(object())); }

LockHandle::Hold LockHandle::unlock_all() const {
  LockObject& lock = lock_in(object());
  const bool is_recursive = kind_ == Kind::recursive;
  const Hold hold{is_recursive ? lock.depth.load() : 1, lock.where.load()};
  if (is_recursive) lock.depth.store(1);
  unlock();
  return hold;
}

void LockHandle::lock_again(const Hold& hold) const {
  const SoftLimit no_limit;
  LockObject& lock = lock_in(object());
  const bool is_recursive = kind_ == Kind::recursive;
  static_cast<void>(take(lock, is_recursive, Deadline::never(), WaitKind::lock_again, hold.where));
  if (is_recursive) lock.depth.store(hold.times);
}

bool LockHandle::is_left_by_the_dead() const {
  RobustLock& lock = lock_in(object()).lock;
  lock.recover_unmarked();
  return !lock.is_held() && !lock.is_at_rest();
}

}  // namespace kin::detail

namespace kin {

LockGuard::~LockGuard() {
  // In the child of a fork it is not held, and nothing is to be done.
  if (detail::is_holder(detail::lock_in(lock_.object()))) lock_.unlock();
}

}  // namespace kin
