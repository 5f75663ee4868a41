// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/byte_channel.hpp"
#include "memory/object.hpp"
#include "nursery/notice_board.hpp"
#include "nursery/task_slot.hpp"
#include "waiting/futex.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace kin::detail {

/// How long things took, roughly: a count for each power of two of nanoseconds.
struct Histogram {
  std::array<std::atomic<std::uint32_t>, 44> counts;

  void add(std::int64_t nanoseconds) noexcept {
    const auto bits = static_cast<std::size_t>(
        std::bit_width(static_cast<std::uint64_t>(nanoseconds < 0 ? 0 : nanoseconds)));
    auto& count = counts[bits < counts.size() ? bits : counts.size() - 1];
    // Relaxed: one writer, and nothing hangs on it.
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

/// A worker's place in the pool: stays when the worker dies, and is the next one's then.
/// Writers: the worker that sits there; the nursery before it is forked and when it is dead.
struct alignas(64) Seat {
  // The task that it has, or is about to take, or had a moment ago: where the nursery looks when the
  // worker died. The slot's word is the truth.
  std::atomic<TaskSlot*> current;
  std::atomic<std::uint32_t> current_generation;
  std::atomic<std::uint32_t>
      resumes;                // the next worker begins with `current`, which has it already
  std::atomic<Stamp> worker;  // who took the last task
  std::atomic<std::int64_t>
      started_at;                      // of a task with a limit: when, in nanoseconds; 0: none runs
  std::atomic<std::int64_t> stop_for;  // its soft limit has passed: of the one that started then
  std::atomic<std::uint32_t> is_ready;  // its initializer is done
  std::atomic<std::int32_t> pid;        // 0: nobody sits here
  std::atomic<std::uint32_t> restarts;
  std::atomic<std::uint64_t> tasks_done;
  std::atomic<std::uint64_t> tasks_failed;
  Histogram waiting;  // from submission to start
  Histogram running;
};

/// What a pool's processes share.
/// Writers: named at each member.
struct PoolState : Object {
  enum Phase : std::uint32_t {
    starting,
    open,
    closing,      // the parent: no more tasks, those that are there are done
    terminating,  // the parent: nothing more is done
    broken,       // the nursery: no worker can be had; see `why_broken`
    failed        // the nursery: the first workers could not be forked; see `start_error`
  };
  // Blocks of slots: each has twice as many as the one before, up to a size that is not much to have
  // too many of.
  static constexpr std::size_t most_blocks = 1024;
  static constexpr std::size_t first_block = 256;
  static constexpr std::size_t largest_block = 8192;
  static constexpr std::size_t most_spares = 32;
  static constexpr std::size_t most_seats = 4096;

  FutexWord phase;                             // the nursery until it is open, then see Phase
  std::atomic<std::int32_t> start_error;       // the nursery: an errno
  std::atomic<std::uint32_t> has_no_patience;  // the parent: workers are killed at once
  std::uint32_t seat_count;                    // the parent, before there is anybody else
  Place seats_block;
  Place blocks_block;  // most_blocks Places; the parent
  // Large blocks that no task needs at the moment; the parent. To give memory back to the kernel and to
  // ask for it again takes longer than many a map. A block that a task names as well is the task's.
  std::array<Place, most_spares> spares;
  std::atomic<std::uint32_t> block_count;
  NoticeBoard notices;                            // of observed tasks that are over
  std::array<std::atomic<char>, 512> why_broken;  // a worker whose initializer threw

  [[nodiscard]] std::span<Seat> seats() const noexcept {
    return {reinterpret_cast<Seat*>(seats_block.address()), seat_count};
  }
  [[nodiscard]] static constexpr std::size_t size_of_block(std::size_t block) noexcept {
    return block < 5 ? first_block << block : largest_block;
  }
  static_assert(first_block << 5 == largest_block);
  [[nodiscard]] std::span<Place> blocks() const noexcept {
    return {reinterpret_cast<Place*>(blocks_block.address()), most_blocks};
  }
  [[nodiscard]] std::span<TaskSlot> slots(std::size_t block) const noexcept {
    return {reinterpret_cast<TaskSlot*>(blocks()[block].address()), size_of_block(block)};
  }
};

/// A pool's shared memory as one process has it: the state and the queue of tasks.
struct PoolMemory {
  std::shared_ptr<Claim> state_claim;
  std::shared_ptr<Claim> tasks_claim;

  explicit PoolMemory(std::uint32_t seats);

  [[nodiscard]] PoolState& state() const noexcept {
    return static_cast<PoolState&>(state_claim->object());
  }
  /// TaskHints to those who take tasks.
  [[nodiscard]] ByteChannel& tasks() const noexcept {
    return static_cast<ByteChannel&>(tasks_claim->object());
  }
};

/// Adds a block of slots, all free. The parent's.
std::span<TaskSlot> add_slots(PoolState& pool);
/// Fills a slot's place with a block, from the spares if one fits; and the other way. The parent's, one
/// thread at a time.
std::byte* take_block(PoolState& pool, Place& place, std::size_t size);
void give_back_block(PoolState& pool, Place& place);

void put_hint(ByteChannel& channel, TaskHint hint);
void shut_down_hints(ByteChannel& channel);
/// Takes one; calls `take` with it before that is committed. False when the time is up. Throws
/// QueueShutDown.
bool get_hint(ByteChannel& channel, FunctionRef<void(TaskHint)> take, Deadline deadline);

/// Ends a task that is in the state `from`: by one store. Wakes who sleeps for it and sends the notice
/// that the parent wants. False when the word is another by now.
bool end_task(PoolMemory& memory, TaskSlot& slot, TaskWord from, TaskState to);
/// The same for whatever state before its end `may_end` accepts; false when there was no such.
bool end_task_if(PoolMemory& memory, TaskSlot& slot, std::uint32_t generation, TaskState to,
                 FunctionRef<bool(TaskWord)> may_end);
/// The same for all tasks of the pool.
void end_tasks_if(PoolMemory& memory, TaskState to, FunctionRef<bool(TaskWord)> may_end);

}  // namespace kin::detail
