// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/object.hpp"
#include "waiting/robust_lock.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace kin::detail {

/// Lock and RLock in shared memory: the lock itself, which is the truth, and notes of who holds it.
/// Writers: the holder; the notes are cleared before the lock is free. Number and name: its maker.
struct LockObject : Object {
  static constexpr std::size_t name_size = 48;

  RobustLock lock;
  std::atomic<pid_t> holder_thread;   // 0: free, or only just taken
  std::atomic<std::uint32_t> depth;   // of an RLock
  std::atomic<Stamp> holder_process;  // stays when the holder dies, for the warning
  std::atomic<std::uint64_t> taken;   // how often it was
  std::atomic<std::source_location> where;
  std::atomic<std::uint32_t> owner_died;
  std::atomic<std::uint32_t> number;  // for one without a name
  std::array<std::atomic<char>, name_size> name;

  void set_name(std::string_view text) noexcept;
};
static_assert(sizeof(LockObject) <= Heap::lock_size);

/// Who holds a lock, at a moment.
struct Holder {
  Stamp process = 0;
  pid_t thread = 0;
  std::uint64_t taken = 0;
  std::source_location where = {};

  /// Whether it is the same thread, which has had it all the time.
  friend bool operator==(const Holder& left, const Holder& right) noexcept {
    return left.process == right.process && left.thread == right.thread &&
           left.taken == right.taken;
  }
};

/// None where nobody does, where its holder is dead, or while it changes hands.
std::optional<Holder> holder_of(const LockObject& lock) noexcept;

/// What people call it: lock "accounts", or lock #3.
std::string name_of(const LockObject& lock);

}  // namespace kin::detail
