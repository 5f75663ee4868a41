// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "channel/bell.hpp"
#include "channel/cargo.hpp"
#include "channel/cursor.hpp"
#include "channel/ledger.hpp"
#include "channel/line.hpp"
#include "channel/segment.hpp"
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
  // trip of 0.30 µs instead of 0.22. Writers don't read `tail`, as readers wait there: see own_tail.
  alignas(64) std::atomic<std::uint64_t> tail;
  alignas(64) std::atomic<std::uint64_t> head;

  // The writers' line.
  alignas(64) RobustLock tail_lock;
  std::atomic<Segment*> tail_segment;
  // A copy of the tail, for writers: a reader that looks at the tail may get its line as its own, so that
  // even to read what one has just written would wait for it to come back. See commit_tail().
  std::atomic<std::uint64_t> own_tail;
  // Up to this position records fit one behind another from the tail on, in `tail_segment`; not behind the tail where
  // that is not known. True wherever a writer dies: put back to the tail before another segment follows.
  std::uint32_t room_ends;

  // The readers' line.
  alignas(64) RobustLock head_lock;
  std::atomic<std::uint64_t> tail_seen;  // a tail of the past: records that are surely there
  Owned<Segment> head_segment;           // owns the chain of segments

  alignas(64) ParkingSpot items;        // readers of a queue wait here
  Bell bell;                            // readers who wait in poll()
  std::uint32_t most_items;             // 0: no bound
  std::uint32_t most_units;             // how large its ring may be; 0: as large as it has to
  std::atomic<std::uint32_t> closings;  // how often an end of it was closed somewhere
  alignas(64) ParkingSpot room;         // writers wait here

  // Guarded by tail_lock.
  alignas(64) Owned<Segment> linking;       // a segment before it is in the chain
  Owned<Cargo> loading;                     // cargo before its record is put
  std::atomic<std::uint32_t> loading_from;  // the tail's position then
  std::atomic<std::uint64_t> head_seen;     // a head of the past: room that is surely there
  // A message that is put in pieces: {1, the tail's position before it}, and {1, its end} once the
  // record that ends it is about to be put.
  std::atomic<std::uint64_t> streaming_from;
  std::atomic<std::uint64_t> streaming_to;
  // Guarded by head_lock.
  Owned<Segment> freeing;  // a segment that is no longer in the chain
  Owned<Cargo> unloading;  // cargo while its record is taken

  Ledger ledger;  // of a JoinableQueue; guarded by head_lock
};

struct ChannelOptions {
  std::uint32_t most_items = 0;
  std::uint32_t most_units = 0;  // a power of two
  bool joinable = false;
};
std::shared_ptr<Claim> make_channel(const ChannelOptions& options);

/// A part of a message, as it is handed to who takes it; under the head lock.
struct Part {
  std::span<const std::byte> bytes;
  std::size_t offset;  // 0: a message begins, or begins anew
  std::size_t total;   // of the whole message
};
using Sink = FunctionRef<void(const Part&)>;

/// Puts one message; waits while a bounded channel is full. False when the time is up; the message was
/// not put then. Throws QueueShutDown, std::bad_alloc, SystemError for descriptors.
bool put(ByteChannel& channel, std::span<const std::byte> bytes, const OutgoingCargo& cargo,
         Line& line, Deadline deadline);

/// Takes one message: hands its bytes to `sink` and fills `cargo`, if the caller wants it. Waits while there is none; false
/// when the time is up. Throws QueueShutDown when there is none and never will be. What `sink` throws at
/// offset 0 passes through, and the message stays.
bool get(ByteChannel& channel, Sink sink, IncomingCargo* cargo, Line& line, Deadline deadline);

/// Nothing can be put from now on; who waits is told.
void shut_down(ByteChannel& channel, Line& line);
[[nodiscard]] bool is_shut_down(const ByteChannel& channel) noexcept;

/// How many messages are in it, at a moment during the call.
[[nodiscard]] std::size_t size_of(const ByteChannel& channel) noexcept;
/// Whether there are records in it.
[[nodiscard]] bool has_items(const ByteChannel& channel) noexcept;

// ---- for the parts of this layer

/// What who takes a lock over from the dead does first.
void recover_head(ByteChannel& channel);
void recover_tail(ByteChannel& channel);

/// Takes one message if there is one. Waits for the lock, but only so long.
bool try_get(ByteChannel& channel, Sink sink, IncomingCargo* cargo, Line& line, Deadline for_lock);
/// Whether there is one; drops what a dead reader has left of one. Only a hint where another reader is busy.
[[nodiscard]] bool has_message(ByteChannel& channel, Line& line);
/// How often in a row this thread found a channel empty when it came to get, without a put in between.
[[gnu::tls_model("initial-exec")]] inline thread_local unsigned hungry_gets = 0;
/// How often in a row this thread has put, into any channel, without a get in between.
[[gnu::tls_model("initial-exec")]] inline thread_local unsigned puts_in_a_row = 0;
/// Waits a moment, if this thread only consumes, and faster than others produce.
void linger();
/// Looks into an empty channel for a moment: for what is on its way from another processor. True: it is
/// worth a try.
bool look_a_moment(const ByteChannel& channel);

}  // namespace kin::detail
