// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/export.hpp>
#include <kin/proxy.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace kin::detail {

/// This thread, for locks that belong to threads.
[[nodiscard]] KIN_EXPORT std::int32_t calling_thread() noexcept;

class ConditionStore;

/// What a lock is in the server. The holder is a thread of a process; what dies is the process.
class KIN_EXPORT LockStore {
 public:
  explicit LockStore(bool is_recursive) noexcept : is_recursive_(is_recursive) {}

  [[nodiscard]] bool lock(std::uint64_t process, std::int32_t thread) noexcept;
  /// Throws std::logic_error when nobody holds it, or of a recursive one when another does.
  void unlock(std::uint64_t process, std::int32_t thread);
  [[nodiscard]] bool is_locked() const noexcept { return depth_ != 0; }
  [[nodiscard]] bool owner_died() const noexcept { return owner_died_; }
  void bury(std::uint64_t process);

  /// For conditions. Lets go of it, however often the caller has locked it; throws std::logic_error if it has
  /// not.
  void let_go(std::uint64_t process, std::int32_t thread);
  /// As before that. Also true for who has not let go.
  [[nodiscard]] bool lock_again(std::uint64_t process, std::int32_t thread) noexcept;
  /// Its holder was notified of something. If it dies with the lock, another is.
  void came_with(Proxy<ConditionStore> notification) noexcept;

 private:
  [[nodiscard]] bool is_held_by(std::uint64_t process, std::int32_t thread) const noexcept {
    return depth_ != 0 && process_ == process && thread_ == thread;
  }

  bool is_recursive_;
  bool left_by_dead_ = false;
  bool owner_died_ = false;  // of the holder before this one
  std::uint64_t process_ = 0;
  std::int32_t thread_ = 0;
  std::uint32_t depth_ = 0;
  Proxy<ConditionStore> notification_;  // of the holder, if it came from a wait
  std::map<std::pair<std::uint64_t, std::int32_t>, std::uint32_t>
      away_;  // who waits, and its depth
};

/// What a semaphore is in the server.
class KIN_EXPORT SemaphoreStore {
 public:
  SemaphoreStore(int value, bool is_bounded);

  [[nodiscard]] bool acquire(std::uint64_t process);
  /// Throws std::logic_error for more than there were, of a bounded one.
  void release(std::uint64_t process, int count);
  /// One that a dead process did not come to know of.
  void take_back(std::uint64_t process);
  [[nodiscard]] int value() const noexcept { return value_; }
  void bury(std::uint64_t process);

 private:
  int value_;
  int most_;
  bool is_bounded_;
  std::map<std::uint64_t, int> held_;  // of a bounded one
};

class KIN_EXPORT EventStore {
 public:
  [[nodiscard]] bool is_set() const noexcept { return is_set_; }
  void set() noexcept { is_set_ = true; }
  void clear() noexcept { is_set_ = false; }

 private:
  bool is_set_ = false;
};

/// What a barrier is in the server.
class KIN_EXPORT BarrierStore {
 public:
  using Action = Callback<void()>;
  explicit BarrierStore(int parties, Action action = nullptr);

  /// Who arrives gets a number, in `arrival`; it is -1 before. The last one calls the action. Throws
  /// BrokenBarrierError, and what the action throws.
  [[nodiscard]] std::optional<int> wait(std::int64_t& generation, int& arrival);
  /// One that has arrived in that generation gave up, or died.
  void leave(std::int64_t generation, int arrival) noexcept;
  void abort() noexcept;
  void reset() noexcept;
  [[nodiscard]] int parties() const noexcept { return parties_; }
  [[nodiscard]] int n_waiting() const noexcept { return is_broken_ ? 0 : arrived_; }
  [[nodiscard]] bool broken() const noexcept { return is_broken_; }

 private:
  void act();

  int parties_;
  Action action_;
  int arrived_ = 0;
  std::int64_t generation_ = 0;
  std::int64_t broken_up_to_ = -1;  // who waits in these generations is told
  bool is_broken_ = false;
};

/// What a condition is in the server: who waits has a ticket, and a notification lets go so many of the
/// oldest.
class KIN_EXPORT ConditionStore {
 public:
  /// 0 before; true when it was let go.
  [[nodiscard]] bool wait(std::uint64_t& ticket);
  /// It gave up, or died: if it had been let go, another is in its place.
  void leave(std::uint64_t ticket) noexcept;
  void notify(std::size_t count) noexcept;

 private:
  std::map<std::uint64_t, bool> waiting_;  // by ticket: let go
  std::uint64_t last_ = 0;
};

/// Waiting for a store's `lock`, `acquire` …, as functions of a WaitingCall.
struct TakeLock {
  bool operator()(LockStore& lock, std::uint64_t process, std::int32_t thread) const noexcept {
    return lock.lock(process, thread);
  }
};
struct ReleaseLock {
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

}  // namespace kin::detail
