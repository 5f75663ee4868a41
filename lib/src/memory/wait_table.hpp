// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <source_location>
#include <span>

#include <sys/types.h>

namespace kin::detail {

/// What a thread waits for.
enum class WaitKind : std::uint8_t {
  none,
  lock,
  lock_again,      // of a condition, behind its wait
  end_of_process,  // a join
  message,
  room,
  tasks_done,
  permit,
  event,
  notification,
  parties,
  result
};

/// How it waits.
struct WaitFlags {
  static constexpr std::uint8_t for_ever = 1;  // nothing but what it waits for ends it
  static constexpr std::uint8_t may_throw = 2;
};

/// One wait of one thread, as it was at a moment.
struct Wait {
  Stamp process = 0;
  pid_t thread = 0;
  WaitKind kind = WaitKind::none;
  std::uint8_t flags = 0;
  std::uint64_t target = 0;  // the object's address; of a process that is joined, its stamp
  std::int64_t since = 0;    // monotonic clock
  std::source_location where = {};
  std::uint64_t sequence = 0;  // of its record; another for each wait

  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

/// Where a thread that has waited for a while says so, for those who look for deadlocks.
/// Writers: the thread that has it; of a dead one whoever cleans up. Nobody waits for anybody here.
struct alignas(64) WaitRecord {
  // {sequence : 48, flags : 8, kind : 8}. A wait begins and ends with one store.
  std::atomic<std::uint64_t> state;
  std::atomic<Stamp> process;  // 0: free
  std::atomic<std::uint64_t> target;
  std::atomic<std::int64_t> since;
  std::atomic<std::source_location> where;
  std::atomic<pid_t> thread;
};
static_assert(std::atomic<std::source_location>::is_always_lock_free);

/// All zero is its initial state.
struct WaitTable {
  static constexpr std::size_t most = 4096;

  std::array<WaitRecord, most> records;
  std::atomic<std::uint32_t> used;        // from here on no record was ever taken
  std::atomic<std::uint32_t> locks_made;  // gives locks their numbers
};

/// Notes a wait of this thread's; `wait.process`, `.thread` and `.sequence` are filled in. Null where
/// this process is none of the family, or all records are taken.
WaitRecord* begin_wait(Wait wait) noexcept;
/// Nothing happens in the child of a fork, whose record it is not.
void end_wait(WaitRecord& record) noexcept;

/// What it says now, if anything.
std::optional<Wait> read_wait(const WaitRecord& record) noexcept;
/// The records that may say something.
std::span<const WaitRecord> all_waits() noexcept;

/// Part of the sweep: the dead wait for nothing.
void forget_waits_of(Stamp dead) noexcept;

/// The number of a new lock, from 1.
std::uint32_t next_lock_number() noexcept;

}  // namespace kin::detail
