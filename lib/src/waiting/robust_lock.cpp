// SPDX-License-Identifier: BSL-1.0
//
// Waiting for a robust mutex: spin for about as long as it would take to be woken, then sleep in the
// kernel, in slices. glibc's mutex does the hard part (the robust list and its pending operation, so
// that a kill at any instruction of lock or unlock leaves the lock marked or free); what is ours is
// how to wait for it.
//
// One hole is closed here: when the kernel kills for want of memory it may skip the walk along the
// robust list, so a lock can stay unmarked with a holder that is gone. Who waited a whole slice
// therefore asks the kernel whether a thread with the holder's id exists at all, and is no zombie that
// nobody has reaped yet. A stopped or busy holder exists; nothing is ever taken from it.

#include "waiting/robust_lock.hpp"

#include "base/process_stat.hpp"
#include "base/thread_id.hpp"
#include "waiting/pause.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {
namespace {

constexpr int spins = 200;  // about 5 to 10 µs: longer than any holder inside kin needs
constexpr int yields = 4;   // the holder may be waiting for this very processor

std::optional<RobustLock::Found> found_by(int result) {
  switch (result) {
    case 0: return RobustLock::Found::clean;
    case EOWNERDEAD: return RobustLock::Found::owner_died;
    case EBUSY:
    case ETIMEDOUT: return std::nullopt;
    default: throw SystemError("pthread_mutex_lock", result);
  }
}

timespec end_of_slice(Deadline deadline, FunctionRef<void()> look_around) {
  const std::int64_t slice_ends = Deadline::now() + RobustLock::slice;
  const std::int64_t until = std::min(deadline.nanoseconds(), slice_ends);
  if (until == slice_ends) look_around();
  timespec absolute{};
  absolute.tv_sec = until / 1'000'000'000;
  absolute.tv_nsec = until % 1'000'000'000;
  return absolute;
}

// This thread holds the lock: it would wait for ever, or for all of its time.
std::nullopt_t wait_for_oneself(Deadline deadline, FunctionRef<void()> look_around) {
  if (deadline.is_never()) {
    throw DeadlockError("this thread waits for a lock that it holds itself");
  }
  while (!deadline.has_passed()) {
    const timespec until = end_of_slice(deadline, look_around);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
  }
  return std::nullopt;
}

int lock_for_a_slice(pthread_mutex_t& mutex, Deadline deadline, FunctionRef<void()> look_around) {
  const timespec until = end_of_slice(deadline, look_around);
#if defined(__SANITIZE_THREAD__)
  // The thread sanitizer of g++ 12 does not see pthread_mutex_clocklock at all, nor that
  // pthread_mutex_timedlock gets a dead thread's lock. Of trylock it knows both. (That a thread's
  // death publishes what it wrote while it held the lock, it does not know of any of them.)
  static_cast<void>(until);
  const timespec moment{.tv_sec = 0, .tv_nsec = 100'000};
  nanosleep(&moment, nullptr);
  return pthread_mutex_trylock(&mutex);
#else
  return pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &until);
#endif
}

}  // namespace

void RobustLock::initialize() noexcept {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&mutex_, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

int RobustLock::take_by_glibc() noexcept {
  if (RobustList::own() == nullptr) RobustList::learn();
  return pthread_mutex_trylock(&mutex_);
}

bool RobustLock::release_by_glibc() noexcept {
#if defined(__SANITIZE_THREAD__)
  // The thread sanitizer reports what this mutex refuses, being an error-checking one.
  const int word = __atomic_load_n(&mutex_.__data.__lock, __ATOMIC_RELAXED);
  if ((word & FUTEX_TID_MASK) != thread_id()) return false;
#endif
  return pthread_mutex_unlock(&mutex_) == 0;
}

std::optional<RobustLock::Found> RobustLock::lock_slowly(int result, Deadline deadline,
                                                         FunctionRef<void()> look_around) {
  if (result == EDEADLK) return wait_for_oneself(deadline, look_around);
  auto found = found_by(result);
  if (found || deadline.is_passed_from_start()) return found;
  for (int spin = 0; spin < spins + yields; ++spin) {
    if (spin < spins) {
      pause();
    } else {
      sched_yield();
    }
    if (!looks_free()) continue;
    found = found_by(pthread_mutex_trylock(&mutex_));
    if (found) return found;
  }
  while (!deadline.has_passed()) {
    found = found_by(lock_for_a_slice(mutex_, deadline, look_around));
    if (found) return found;
    recover_unmarked();
  }
  return found_by(pthread_mutex_trylock(&mutex_));
}

// The lock word is glibc's; reading it spares the cache line that a failing trylock would take from
// the holder. Its layout is part of glibc's ABI (the kernel reads it too: thread id and two flags).
bool RobustLock::looks_free() const noexcept {
  const int word = __atomic_load_n(&mutex_.__data.__lock, __ATOMIC_RELAXED);
  return (word & FUTEX_TID_MASK) == 0;
}

bool RobustLock::is_held() const noexcept { return !looks_free(); }

pid_t RobustLock::holder_thread() const noexcept {
  return __atomic_load_n(&mutex_.__data.__lock, __ATOMIC_ACQUIRE) & FUTEX_TID_MASK;
}

bool RobustLock::is_at_rest() const noexcept {
  return __atomic_load_n(&mutex_.__data.__lock, __ATOMIC_ACQUIRE) == 0;
}

void RobustLock::recover_unmarked() noexcept {
  int word = __atomic_load_n(&mutex_.__data.__lock, __ATOMIC_ACQUIRE);
  const int holder = word & FUTEX_TID_MASK;
  if (holder == 0 || (word & static_cast<int>(FUTEX_OWNER_DIED)) != 0) return;
  const bool is_there = syscall(SYS_tkill, holder, 0) == 0 || errno != ESRCH;
  // The kernel walks the list before a thread becomes a zombie, or not at all.
  if (is_there && process_stat(holder).state != 'Z') return;
  // It has ended. Write what the kernel should have written; only one waiter can succeed.
  const int marked = (word & static_cast<int>(FUTEX_WAITERS)) | static_cast<int>(FUTEX_OWNER_DIED);
  __atomic_compare_exchange_n(&mutex_.__data.__lock, &word, marked, false, __ATOMIC_SEQ_CST,
                              __ATOMIC_RELAXED);
}

}  // namespace kin::detail
