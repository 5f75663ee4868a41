// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/byte_channel.hpp"
#include "channel/record.hpp"

namespace kin::detail {

// The writers' side of a channel. All of this with the tail lock held, but has_room().

/// A record to be. Pieces leave a unit of the ring free, so that an `abort` always finds room.
struct Draft {
  RecordKind kind;
  std::span<const std::byte> bytes;
  std::size_t total = 0;  // of `first`
  const OutgoingCargo* cargo = nullptr;
};

/// What a put has to wait for: the head at that position, or fewer items. Or that an end is closed
/// somewhere: perhaps nobody will make room any more.
struct Obstacle {
  std::uint32_t head_position;
  std::uint32_t closings;
};

/// Where writers are: what `tail` is, too.
inline Cursor own_tail(const ByteChannel& channel) noexcept {
  // Relaxed: written under this lock only.
  return Cursor(channel.own_tail.load(std::memory_order_relaxed));
}
/// The one store that puts what was written.
inline void commit_tail(ByteChannel& channel, Cursor tail) noexcept {
  // SYNC tail: publishes the record, and the segment it stands in; pairs with the acquire in
  // look_at_tail().
  channel.tail.store(tail.word(), std::memory_order_release);
  // If killed here: it is put; recover_tail() does the rest.
  channel.own_tail.store(tail.word(), std::memory_order_relaxed);
}

/// Writes the record and commits; grows the ring as far as it may be. False where there is no room: then
/// nothing was done, and `obstacle` is what to wait for. Throws QueueShutDown, std::bad_alloc,
/// SystemError.
bool put_record(ByteChannel& channel, const Draft& draft, Line& line, Obstacle& obstacle);

/// Whether it is worth another try.
bool has_room(const ByteChannel& channel, const Obstacle& obstacle) noexcept;

/// Calls `put()`, and again while the descriptor store has no room. False when the time is up. With no lock
/// held.
bool when_descriptors_have_room(Deadline deadline, Line& line, FunctionRef<bool()> put);

/// Around a message that is put in pieces: whoever takes the lock over from the dead sees whether one is
/// open, and aborts it.
void begin_message(ByteChannel& channel);
void end_message(ByteChannel& channel);
/// Ends one that will not be whole.
void abort_message(ByteChannel& channel);
/// The same, if a dead writer has left one open.
void settle_streaming(ByteChannel& channel);

}  // namespace kin::detail
