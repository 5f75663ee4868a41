// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "channel/cargo.hpp"
#include "channel/cursor.hpp"
#include "channel/ledger.hpp"
#include "memory/object.hpp"
#include "waiting/parking.hpp"
#include "waiting/robust_lock.hpp"

#include <kin/detail/deadline.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kin::detail {

/// A ring of records. Full ones are followed by a larger one: see ByteChannel.
struct Segment {
  std::uint32_t base;  // the position at which it begins
  std::uint32_t mask;  // its size in units, a power of two, less one
  Owned<Segment> next;
  // Written by writers only, so on a line of its own: how many bytes of the ring have their pages.
  alignas(64) std::size_t populated;
  static constexpr std::size_t header_size = 128;

  [[nodiscard]] std::uint32_t units() const noexcept { return mask + 1; }
  [[nodiscard]] std::uint64_t* unit(std::uint32_t position) noexcept {
    return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::byte*>(this) + header_size) +
           ((position - base) & mask);
  }
};

/// The crash-safe heart: messages between processes, first in, first out.
///
/// A ring of records with two locks: writers hold the tail's, readers the head's. One store a side
/// commits (see Cursor): a writer that is killed before it never put its message, a reader that is
/// killed before it never took one; there is nothing to repair, whatever it did before.
/// Recovery, by the next who locks: what a death may have left half done stands in the fields below,
/// each set before and cleared after the steps that it speaks of.
struct ByteChannel : Object {
  // Each commit word has a line of its own. With the lock beside it, a reader that looks at the tail
  // would take the lock's line from the writer as well, whose next lock would wait for it: a round
  // trip of 0.30 µs instead of 0.22.
  alignas(64) std::atomic<std::uint64_t> tail;
  alignas(64) std::atomic<std::uint64_t> head;

  // The writers' line.
  alignas(64) RobustLock tail_lock;
  std::atomic<std::uint64_t> head_seen;  // a head of the past: room that is surely there
  std::atomic<Segment*> tail_segment;

  // The readers' line.
  alignas(64) RobustLock head_lock;
  std::atomic<std::uint64_t> tail_seen;  // a tail of the past: records that are surely there
  Owned<Segment> head_segment;           // owns the chain of segments

  alignas(64) ParkingSpot items;  // readers wait here
  ParkingSpot room;               // writers of a bounded channel wait here
  std::uint32_t most_items;       // 0: no bound

  // Guarded by tail_lock.
  alignas(64) Owned<Segment> linking;       // a segment before it is in the chain
  Owned<Cargo> loading;                     // cargo before its record is put
  std::atomic<std::uint32_t> loading_from;  // the tail's position then
  // Guarded by head_lock.
  Owned<Segment> freeing;  // a segment that is no longer in the chain
  Owned<Cargo> unloading;  // cargo while its record is taken

  Ledger ledger;  // of a JoinableQueue; guarded by head_lock
};

/// Makes a channel that holds `most_items` at most, any number if 0.
std::shared_ptr<Claim> make_channel(std::uint32_t most_items, bool joinable);

/// Puts one message; waits while a bounded channel is full. False when the time is up; the message was
/// not put then. Throws QueueShutDown, std::bad_alloc.
bool put(ByteChannel& channel, std::span<const std::byte> bytes, std::span<const Handle> handles,
         Deadline deadline);

/// Takes one message: hands its bytes to `sink`, under the lock, and fills `handles`. Waits while there
/// is none; false when the time is up. Throws QueueShutDown when there is none and never will be. What
/// `sink` throws passes through, and the message stays.
bool get(ByteChannel& channel, FunctionRef<void(std::span<const std::byte>)> sink,
         std::vector<Handle>& handles, Deadline deadline);

/// Nothing can be put from now on; who waits is told.
void shut_down(ByteChannel& channel);
[[nodiscard]] bool is_shut_down(const ByteChannel& channel) noexcept;

/// How many messages are in it, at a moment during the call.
[[nodiscard]] std::size_t size_of(const ByteChannel& channel) noexcept;

/// What recovery of the head lock does; the ledger takes that lock too.
void recover_head(ByteChannel& channel);

}  // namespace kin::detail
