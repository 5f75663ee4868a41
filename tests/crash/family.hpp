// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/heap.hpp"
#include "memory/process_table.hpp"
#include "memory/wait_table.hpp"
#include "support/crash_run.hpp"
#include "support/object_of.hpp"
#include "support/sweep.hpp"

#include <kin/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/types.h>

namespace crash {

using support::sweep_the_dead;

/// How many messages were ever put, and taken, by the commit words.
template <typename T>
std::uint32_t puts_into(const T& handle) {
  return kin::detail::Cursor(channel_of(handle).tail.load()).count();
}
template <typename T>
std::uint32_t gets_from(const T& handle) {
  return kin::detail::Cursor(channel_of(handle).head.load()).count();
}

/// Takes all that is in a queue; size() must have known how much that is.
template <typename T>
std::vector<T> drain(const kin::Queue<T>& queue) {
  const std::size_t size = queue.size();
  std::vector<T> items;
  while (auto item = queue.try_get()) items.push_back(*std::move(item));
  require(items.size() == size, "size() was " + std::to_string(size) + " with " +
                                    std::to_string(items.size()) + " items in the queue");
  require(queue.size() == 0, "size() of an empty queue is not 0");
  return items;
}

/// For the body of a sleeper: a signal of end_slice() makes its system calls return.
inline void sleep_lightly() {
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  sigaction(SIGUSR1, &nothing, nullptr);
}

/// Ends the sleeper's slice of sleep, which would take a quarter of a second in each round. Now and then
/// it has to sleep it out.
inline void end_slice(const Moment& moment) {
  if (moment.step % 32 != 0) kill(moment.sleeper->pid(), SIGUSR1);
}

/// What the sleeper returned.
inline std::string rouse(const Moment& moment) {
  end_slice(moment);
  return moment.sleeper_answer();
}

/// What the processes of a round tell each other.
struct Notes {
  std::atomic<bool> got_it;    // the traced one has the right message
  std::atomic<bool> got_junk;  // it has another
  std::atomic<bool> sleeps;    // it has fallen asleep
  std::atomic<pid_t> other;    // of one that falls asleep after it

  void clear() {
    got_it = got_junk = sleeps = false;
    other = 0;
  }
};

/// Waits until another process sleeps.
inline void wait_until_asleep(const std::atomic<pid_t>& pid) {
  constexpr std::chrono::microseconds moment(300);
  for (int seen = 0; seen < 3; std::this_thread::sleep_for(moment)) {
    seen = pid != 0 && process_state(pid) == 'S' ? seen + 1 : 0;
  }
}

/// The memory of the family, which must be in the end what it was in the beginning.
///
/// Compared are the blocks that are in use. Chunks may differ by those that the heap keeps.
class Balance {
 public:
  Balance() : before_(settled()) {}

  /// Throws what is missing, or too much.
  void require_unchanged() const {
    const auto now = settled();
    require(now.cells == before_.cells && now.cell_bytes == before_.cell_bytes,
            "blocks in use: " + describe(before_) + " before, " + describe(now) + " now");
    require(now.chunks <= before_.chunks + kin::detail::HeapState::classes,
            "chunks in use: " + describe(before_) + " before, " + describe(now) + " now");
  }

 private:
  using Statistics = kin::detail::Heap::Statistics;
  Statistics before_;

  static Statistics settled() {
    // Its first handle gives a process a list of them, that it keeps.
    static_cast<void>(kin::Queue<int>());
    sweep_the_dead();
    kin::detail::Heap::recover();
    return kin::detail::Heap::statistics();
  }
  static std::string describe(const Statistics& all) {
    return std::to_string(all.cells) + " of " + std::to_string(all.cell_bytes) + " bytes and " +
           std::to_string(all.chunks) + " chunks";
  }
};

/// For Scenario::watch.
template <typename T>
std::span<const std::byte> memory_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

using Ranges = std::vector<std::span<const std::byte>>;

/// The front of the chunk of the heap that a block lies in, where the blocks of its size are.
inline std::span<const std::byte> chunk_around(const void* block) {
  const std::byte* const chunks = kin::detail::arena().chunks;
  const std::size_t chunk =
      static_cast<std::size_t>(static_cast<const std::byte*>(block) - chunks) /
      kin::detail::chunk_size;
  return {chunks + chunk * kin::detail::chunk_size, kin::detail::chunk_size / 4};
}

/// What of a chunk a short operation changes: its bitmap, its cells up to the second one that is free; where
/// a run begins or may begin, the front of it.
inline std::span<const std::byte> front_of_chunk(std::size_t chunk, std::uint64_t word) {
  constexpr std::size_t front = 128;  // of a ring: its header
  constexpr std::size_t bitmap = 8;   // the same two as in heap.cpp
  constexpr std::size_t first_cell = 320;
  std::byte* const begin = kin::detail::arena().chunks + chunk * kin::detail::chunk_size;
  if (word == 0) return {begin, front};
  if (word >> 32 == 0) return {begin, kin::detail::chunk_size / 4};
  kin::detail::Place cell{};
  cell.name(begin + first_cell);
  const std::size_t cell_size = kin::detail::Heap::room_in(cell);
  std::size_t end = first_cell;
  for (std::size_t i = 0, seen_free = 0; seen_free < 2 && end < kin::detail::chunk_size; ++i) {
    const auto bits = static_cast<unsigned>(begin[bitmap + i / 8]);
    seen_free += (bits >> (i % 8) & 1U) == 0 ? 1U : 0U;
    end += cell_size;
  }
  return {begin, std::min(end, kin::detail::chunk_size)};
}

/// All of the heap that a short operation changes, the blocks in use among it.
inline Ranges memory_of_heap() {
  constexpr std::size_t more = 4;  // chunks that it may take
  kin::detail::HeapState& heap = *kin::detail::arena().heap;
  const std::size_t end = std::min<std::size_t>(heap.high_water.load() + more, heap.chunk_count);
  Ranges ranges{{reinterpret_cast<const std::byte*>(&heap), kin::detail::HeapState::size_for(end)}};
  for (std::size_t chunk = 0; chunk < end;) {
    const std::uint64_t word = heap.word(chunk).load();
    ranges.push_back(front_of_chunk(chunk, word));
    chunk += std::max<std::size_t>(static_cast<std::uint32_t>(word), 1);
  }
  return ranges;
}

/// What starting, ending and sweeping processes changes.
inline Ranges memory_of_processes() {
  const kin::detail::ProcessTable& processes = *kin::detail::arena().processes;
  const kin::detail::WaitTable& waits = *kin::detail::arena().waits;
  return {std::as_bytes(std::span(processes.slots.data(), 16)),
          memory_of(processes.births),
          memory_of(processes.slots_used),
          memory_of(processes.sweep_lock),
          memory_of(processes.graveyard),
          std::as_bytes(std::span(waits.records.data(), 8)),
          memory_of(waits.used)};
}

inline Ranges both(Ranges all, const Ranges& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// What queues and pipes, their handles and messages change: channels, rings, books, cargo and lists of
/// handles, which all are blocks of the heap, and the processes.
inline Ranges memory_of_family() { return both(memory_of_processes(), memory_of_heap()); }

}  // namespace crash
