// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/hosted.hpp>
#include <kin/proxy.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace kin::detail {

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
  void bury(DeadClient dead);

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
  void bury(DeadClient dead);

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

}  // namespace kin::detail
