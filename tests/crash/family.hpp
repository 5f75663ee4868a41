// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/heap.hpp"
#include "memory/process_table.hpp"
#include "support/crash_run.hpp"
#include "support/object_of.hpp"

#include <kin/queue.hpp>

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

/// Sweeps every process of the family that was killed and reaped, as its parent would.
inline void sweep_the_dead() {
  const std::uint32_t used = kin::detail::arena().processes->slots_used.load();
  // It looks at eight slots at a time, and goes round.
  for (std::uint32_t looked = 0; looked < used + 8; looked += 8) kin::detail::sweep_some();
}

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
  std::atomic<pid_t> pid;      // of the traced one
  std::atomic<bool> got_it;    // it has the right message
  std::atomic<bool> got_junk;  // it has another
  std::atomic<pid_t> other;    // of one that falls asleep after it

  void clear() {
    pid = other = 0;
    got_it = got_junk = false;
  }
};

/// Waits, in another process, until a process sleeps.
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

/// What a queue or pipe, its handles and its messages change: all channels and their first segments, the
/// lists of handles, the processes, the heap.
inline Ranges memory_around(const kin::detail::ByteChannel& channel) {
  const kin::detail::ProcessTable& processes = *kin::detail::arena().processes;
  return {chunk_around(&channel),
          chunk_around(channel.head_segment.get()),
          chunk_around(processes.slots[0].claims.get()),
          std::as_bytes(std::span(processes.slots.data(), 16)),
          memory_of(processes.sweep_lock),
          memory_of(processes.graveyard),
          memory_of(*kin::detail::arena().heap)};
}
template <typename T>
Ranges memory_around(const T& handle) {
  return memory_around(channel_of(handle));
}

}  // namespace crash
