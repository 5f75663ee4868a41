// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/cache_lines.hpp"
#include "channel/cargo.hpp"
#include "memory/arena.hpp"
#include "memory/heap.hpp"
#include "waiting/futex.hpp"

#include <kin/detail/task_context.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace kin::detail {

enum class TaskState : std::uint8_t {
  free,       // nobody's
  held,       // the parent's: being filled, or lent to other tasks and never run by itself
  queued,     // any worker may take it
  running,    // its seat's worker has it
  killing,    // that worker is going to be killed for it, and takes nothing more
  finished,   // over, from here on: with a result
  failed,     // with an exception that the function threw
  died,       // its worker died; see TaskSlot::death
  cancelled,  //
  over_limit  // its worker was killed since it ran too long
};

/// The state of a task: {generation : 32, seat : 16, flags : 8, state : 8}. Who changes it by
/// compare-and-swap has the task, or has ended it. A sleeper sleeps on the lower half.
class TaskWord {
 public:
  enum Flag : std::uint8_t {
    awaited = 1,   // somebody sleeps until it is over
    observed = 2,  // the parent wants a notice when it is over
    too_long = 4,  // it is being killed for its time limit, not because it was cancelled
  };

  explicit constexpr TaskWord(std::uint64_t bits) noexcept : bits_(bits) {}
  constexpr TaskWord(std::uint32_t generation, TaskState state) noexcept
      : bits_((std::uint64_t{generation} << 32) | static_cast<std::uint64_t>(state)) {}

  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  [[nodiscard]] constexpr std::uint32_t low() const noexcept {
    return static_cast<std::uint32_t>(bits_);
  }
  [[nodiscard]] constexpr TaskState state() const noexcept {
    return static_cast<TaskState>(bits_ & 0xff);
  }
  [[nodiscard]] constexpr bool is_over() const noexcept { return state() >= TaskState::finished; }
  /// Queued, or in the hands of a worker.
  [[nodiscard]] constexpr bool is_workers() const noexcept {
    return state() >= TaskState::queued && state() < TaskState::finished;
  }
  [[nodiscard]] constexpr bool has(Flag flag) const noexcept {
    return (bits_ & (std::uint64_t{flag} << 8)) != 0;
  }
  [[nodiscard]] constexpr std::uint16_t seat() const noexcept {
    return static_cast<std::uint16_t>(bits_ >> 16);
  }
  [[nodiscard]] constexpr std::uint32_t generation() const noexcept {
    return static_cast<std::uint32_t>(bits_ >> 32);
  }

  [[nodiscard]] constexpr TaskWord with(TaskState state) const noexcept {
    return TaskWord((bits_ & ~std::uint64_t{0xff}) | static_cast<std::uint64_t>(state));
  }
  [[nodiscard]] constexpr TaskWord with(Flag flag) const noexcept {
    return TaskWord(bits_ | (std::uint64_t{flag} << 8));
  }
  [[nodiscard]] constexpr TaskWord at(std::uint16_t seat) const noexcept {
    return TaskWord((bits_ & ~(std::uint64_t{0xffff} << 16)) | (std::uint64_t{seat} << 16));
  }

 private:
  std::uint64_t bits_;
};

/// A task in shared memory.
///
/// Writers: the parent until it is queued and after it is over; the worker that has it; the nursery
/// when that worker is dead. What does not fit stands in blocks of their own, which only the parent
/// frees. Arguments and result have different places: a task whose worker died may run again.
struct alignas(64) TaskSlot {
  static constexpr std::size_t arguments_size = 128;
  static constexpr std::size_t result_size = 80;

  // The parent's line; workers read it.
  std::atomic<std::uint64_t> word;
  TaskCode code;
  Owned<Cargo> arguments_cargo;
  Place arguments_block;
  std::uint64_t arguments_length;
  std::int64_t submitted_at;  // nanoseconds; 0: not measured
  std::uint32_t soft_limit;   // milliseconds, 0: none
  std::uint32_t hard_limit;
  std::atomic<std::uint32_t> retries;  // how often it may run again when its worker dies
  std::uint32_t generation;            // the parent's copy; never 0

  alignas(64) std::array<std::byte, arguments_size> arguments;

  // The worker's line; the parent reads it.
  alignas(64) std::atomic<std::uint64_t> result_length;
  Place result_block;
  Owned<Cargo> result_cargo;
  std::atomic<std::uint32_t> progress;   // items of a chunk that are done
  std::atomic<std::uint32_t> next_over;  // of those on the NoticeBoard
  // How its worker ended, when it is over by that; the nursery's.
  struct Death {
    std::atomic<std::int32_t> pid;
    std::atomic<std::int16_t> exit_code;
    std::atomic<std::uint16_t> out_of_memory;  // the kernel had just killed somebody for memory
  } death;
  std::atomic<std::uint32_t> number;  // which of the pool's it is; the parent's
  // The generation of which the parent is perhaps not told, as its worker died too early; the nursery's.
  // 0: none.
  std::atomic<std::uint32_t> untold;
  alignas(16) std::array<std::byte, result_size> result;

  // Ask for the lines that will be needed soon, all at once, instead of waiting for each in turn: another
  // processor has them. See apply_async in tests/bench/pool.cpp.
  void fetch_for_parent() const noexcept {
    prefetch_to_write(&word);
    prefetch_to_write(&arguments);
    __builtin_prefetch(&result_length);
  }
  void fetch_for_worker() const noexcept {
    prefetch_to_write(&word);
    __builtin_prefetch(&arguments);
    prefetch_to_write(&result_length);
  }
  [[nodiscard]] TaskWord now() const noexcept { return TaskWord(word.load()); }
  [[nodiscard]] FutexWord& sleepers_word() noexcept {
    static_assert(std::endian::native == std::endian::little);
    // The kernel's to look at, as four bytes; nothing here reads them.
    void* const lower_half = &word;
    return *static_cast<FutexWord*>(lower_half);
  }
};
static_assert(sizeof(TaskSlot) == 320);

/// What travels through the queue of tasks: which slot, and for which of its lives. Only a hint; the
/// slot's word decides.
struct TaskHint {
  static constexpr std::size_t unit = 64;

  std::uint32_t generation;
  std::uint32_t place;  // units from the arena's beginning

  static TaskHint to(const TaskSlot& slot, std::uint32_t generation) noexcept {
    return {generation, place_of(slot)};
  }
  static std::uint32_t place_of(const TaskSlot& slot) noexcept {
    const auto* address = reinterpret_cast<const std::byte*>(&slot);
    return static_cast<std::uint32_t>(static_cast<std::size_t>(address - arena().all.data()) /
                                      unit);
  }
  static TaskSlot& slot_at(std::uint32_t place) noexcept {
    return *reinterpret_cast<TaskSlot*>(arena().all.data() + std::size_t{place} * unit);
  }
  [[nodiscard]] TaskSlot& slot() const noexcept { return slot_at(place); }
};

}  // namespace kin::detail
