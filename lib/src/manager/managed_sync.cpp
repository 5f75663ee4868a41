// SPDX-License-Identifier: BSL-1.0
//
// The calls of locks and meeting points in a manager's server. Here and not in the header: what includes that
// would compile all of them, which takes longer than the rest of kin's headers.

#include <kin/detail/managed_sync.hpp>

#include "base/thread_id.hpp"

#include <kin/detail/exposed_ready.hpp>
#include <kin/error.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>

namespace kin::detail {

/// Waiting for a store's `lock`, `acquire` …, as functions of a WaitingCall.
struct TakeLock {
  bool operator()(LockStore& lock, std::uint64_t process, std::int32_t thread) const noexcept {
    return lock.lock(process, thread);
  }
};
struct ReleaseLock {
  static constexpr bool in_any_case = true;  // destructors unlock
  bool operator()(LockStore& lock, std::uint64_t process, std::int32_t thread) const {
    lock.unlock(process, thread);
    return true;
  }
};
struct LockAgain {
  static constexpr bool in_any_case = true;
  bool operator()(LockStore& lock, std::uint64_t process, std::int32_t thread) const noexcept {
    return lock.lock_again(process, thread);
  }
};
struct ReleasePermits {
  static constexpr bool in_any_case = true;
  bool operator()(SemaphoreStore& permits, std::uint64_t process, int count) const {
    permits.release(process, count);
    return true;
  }
};
struct TakePermit {
  bool operator()(SemaphoreStore& permits, std::uint64_t process) const {
    return permits.acquire(process);
  }
  static void take_back(SemaphoreStore& permits, std::uint64_t process) {
    permits.take_back(process);
  }
};
struct AwaitEvent {
  bool operator()(const EventStore& event, std::uint64_t /*process*/) const noexcept {
    return event.is_set();
  }
};
struct ArriveAtBarrier {
  std::optional<int> operator()(BarrierStore& barrier, std::uint64_t /*process*/,
                                std::int64_t& generation, int& arrival) const {
    return barrier.wait(generation, arrival);
  }
  static void withdraw(BarrierStore& barrier, std::uint64_t /*process*/, std::int64_t generation,
                       int arrival) noexcept {
    barrier.leave(generation, arrival);
  }
};
/// A wait, of the thread that holds the condition's lock. Who was let go waits on for the lock, beside it, and is
/// answered when it has that: there is no moment in which it was notified and nobody knows.
struct AwaitCondition {
  bool operator()(ConditionStore& condition, std::uint64_t process, const Proxy<LockStore>& lock,
                  const Proxy<ConditionStore>& /*same*/, std::int32_t thread,
                  std::uint64_t& ticket) const {
    // In the server: the lock itself is called, and who waits for it is let in.
    if (ticket == 0) lock.call(&LockStore::let_go, process, thread);
    return condition.wait(ticket);
  }
  static void withdraw(ConditionStore& condition, std::uint64_t /*process*/,
                       const Proxy<LockStore>& /*lock*/, const Proxy<ConditionStore>& /*same*/,
                       std::int32_t /*thread*/, std::uint64_t ticket) noexcept {
    condition.leave(ticket);
  }

  struct Then {
    using Object = LockStore;
    static detail::Object& object(const Proxy<LockStore>& lock, const Proxy<ConditionStore>& /**/,
                                  std::int32_t /*thread*/, std::uint64_t /*ticket*/) {
      return ObjectOf()(lock);
    }
    bool operator()(LockStore& lock, std::uint64_t process, const Proxy<LockStore>& /*same*/,
                    const Proxy<ConditionStore>& condition, std::int32_t thread,
                    std::uint64_t /*ticket*/) const {
      if (!lock.lock_again(process, thread)) return false;
      lock.came_with(condition);
      return true;
    }
    // It died before it had the lock.
    static void withdraw(const Proxy<LockStore>& /*lock*/, const Proxy<ConditionStore>& condition,
                         std::int32_t /*thread*/, std::uint64_t /*ticket*/) {
      condition.call(&ConditionStore::notify, std::size_t{1});
    }
  };
};

// ---- what is exposed with them

void expose_locks() { expose_making<LockStore, bool>(); }
void expose_semaphores() { expose_making<SemaphoreStore, int, bool>(); }
void Ready<managed::Event>::expose_making() { detail::expose_making<EventStore>(); }
void Ready<managed::Barrier>::expose_making() { detail::expose_making<BarrierStore, int>(); }
void Ready<managed::Condition>::expose_making() {
  expose_ready<managed::RLock>();
  detail::expose_making<ConditionStore>();
}

}  // namespace kin::detail

namespace kin::managed {

using detail::Deadline;
using detail::method;

// ---- Lock

bool Lock::lock_until(Deadline deadline) const {
  return wait<detail::TakeLock>(deadline, detail::thread_id());
}

void Lock::lock_again() const {
  static_cast<void>(wait<detail::LockAgain>(Deadline::never(), detail::thread_id()));
}

void Lock::unlock() const {
  try {
    static_cast<void>(wait<detail::ReleaseLock>(Deadline::never(), detail::thread_id()));
  } catch (const ManagerDied& error) {
    static_cast<void>(error);
  }
}

bool Lock::locked() const { return own(method<&detail::LockStore::is_locked>); }
bool Lock::owner_died() const { return own(method<&detail::LockStore::owner_died>); }

// ---- Semaphore

bool Semaphore::acquire_until(Deadline deadline) const {
  return wait<detail::TakePermit>(deadline);
}

void Semaphore::release(int permits) const {
  static_cast<void>(wait<detail::ReleasePermits>(Deadline::never(), permits));
}

void Semaphore::unlock() const {
  try {
    release();
  } catch (const ManagerDied& error) {
    static_cast<void>(error);
  }
}

int Semaphore::value() const { return own(method<&detail::SemaphoreStore::value>); }

// ---- Event

bool Event::is_set() const { return own(method<&detail::EventStore::is_set>); }
void Event::set() const { own(method<&detail::EventStore::set>); }
void Event::clear() const { own(method<&detail::EventStore::clear>); }

bool Event::wait_until(Deadline deadline) const {
  return Proxy::wait<detail::AwaitEvent>(deadline);
}

// ---- Barrier

int Barrier::wait_until(Deadline deadline) const {
  const auto arrival = Proxy::wait<detail::ArriveAtBarrier>(deadline, std::int64_t{0}, int{-1});
  if (!arrival) {
    // Where the server had not begun with it, it has not broken either.
    abort();
    throw BrokenBarrierError("the time to wait at the barrier is up");
  }
  return *arrival;
}

void Barrier::abort() const { own(method<&detail::BarrierStore::abort>); }
void Barrier::reset() const { own(method<&detail::BarrierStore::reset>); }
int Barrier::parties() const { return own(method<&detail::BarrierStore::parties>); }
int Barrier::n_waiting() const { return own(method<&detail::BarrierStore::n_waiting>); }
bool Barrier::broken() const { return own(method<&detail::BarrierStore::broken>); }

// ---- Condition

bool Condition::wait_until(Deadline deadline) const {
  const Proxy<detail::LockStore>& lock = lock_;
  const Proxy<detail::ConditionStore>& self = *this;
  bool was_notified = false;
  try {
    was_notified = Proxy::wait<detail::AwaitCondition>(deadline, lock, self, detail::thread_id(),
                                                       std::uint64_t{0});
  } catch (...) {
    lock_.lock_again();
    throw;
  }
  if (!was_notified) lock_.lock_again();
  return was_notified;
}

void Condition::notify(int count) const {
  if (count < 0) throw std::invalid_argument("kin: notify() of fewer than none");
  own(method<&detail::ConditionStore::notify>, static_cast<std::size_t>(count));
}

void Condition::notify_all() const { own(method<&detail::ConditionStore::notify>, SIZE_MAX); }

}  // namespace kin::managed
