// SPDX-License-Identifier: BSL-1.0
//
// Putting: a record is written behind the tail, and one store to the tail commits it.

#include "channel/writer.hpp"

#include "base/cache_lines.hpp"
#include "deadlock/waiting.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <new>

namespace kin::detail {
namespace {

constexpr std::size_t longest_message = std::size_t{4} << 30;

// A position in a field that may be empty.
std::uint64_t noted(std::uint32_t position) { return (std::uint64_t{1} << 32) | position; }

bool is_piece(RecordKind kind) { return kind >= RecordKind::first; }

bool is_full(const ByteChannel& channel, Cursor tail, Cursor head) {
  return channel.most_items != 0 && tail.count_since(head) >= channel.most_items;
}

// Where a record of `units` can stand: the units to commit, a pad before it included; 0: no room.
std::uint32_t room_for(const ByteChannel& channel, const Segment& segment, Cursor tail,
                       std::uint32_t units, std::uint32_t spare) {
  const Cursor head(channel.head_seen.load(std::memory_order_relaxed));
  const std::uint32_t base = segment.base.load(std::memory_order_relaxed);
  const std::uint32_t from = is_before(head.position(), base) ? base : head.position();
  const std::uint32_t used = tail.position() - from;
  const std::uint32_t rest = segment.units() - ((tail.position() - base) & segment.mask);
  const std::uint64_t wanted = units <= rest ? units : std::uint64_t{rest} + units;
  return used + wanted + spare <= segment.units() ? static_cast<std::uint32_t>(wanted) : 0;
}

// Where the ring goes on, the lines are still those of the reader's processor. To write to one waits for it, at the
// latest in the unlock, and so each put would for its own. Several are asked for at once instead, a while before; by
// threads that put again and again, for the others it would be too early. Not where it does not help: there readers do
// their part (hand_out() in reader.cpp). `./tests/run bench`: queue_rate.
void prefetch_ahead(Segment& segment, std::uint32_t from, std::uint32_t to) {
  constexpr unsigned again_and_again = 8;
  constexpr std::uint32_t line = 64 / Cursor::unit;
  constexpr std::uint32_t block = 8 * line;
  if (reading_slows_the_writer || puts_in_a_row < again_and_again) return;
  if (from / block == to / block) return;
  const std::uint32_t next = (to / block + 1) * block;
  for (std::uint32_t at = next; at != next + block; at += line) prefetch_to_write(segment.unit(at));
}

void look_at_head(ByteChannel& channel) {
  // SYNC head: pairs with the release in commit(), reader.cpp: what was taken may be written over.
  channel.head_seen.store(channel.head.load(std::memory_order_acquire), std::memory_order_relaxed);
}

// A ring that is never left has been gone round many times: before its base is half of all positions behind, and
// would look as if it lay before the head, it is set to where the ring last began again. Readers find the same
// units by either.
void bring_base_along(Segment& segment, Cursor tail, Cursor head) {
  constexpr std::uint32_t long_ago = std::uint32_t{1} << 29;
  const std::uint32_t base = segment.base.load(std::memory_order_relaxed);
  const std::uint32_t since_base = tail.position() - base;
  const std::uint32_t since_head = tail.position() - head.position();
  // Readers whose head is the base may not have moved on to this segment: they know it by that.
  if (since_base < long_ago || since_head >= since_base) return;
  // If killed on either side of this: both are right.
  segment.base.store(base + ((since_base - since_head) & ~segment.mask), std::memory_order_relaxed);
}

// The record's bytes, behind its head word; with the cargo loaded.
void write_contents(ByteChannel& channel, const Draft& draft, std::uint64_t* to) {
  if (draft.kind == RecordKind::first || draft.kind == RecordKind::first_with_cargo) {
    *to++ = draft.total;
  }
  if (draft.cargo != nullptr) *to++ = reinterpret_cast<std::uint64_t>(channel.loading.get());
  if (!draft.bytes.empty()) std::memcpy(to, draft.bytes.data(), draft.bytes.size());
}

std::size_t length_of(const Draft& draft) {
  const std::size_t words = (draft.total != 0 ? 1U : 0U) + (draft.cargo == nullptr ? 0U : 1U);
  return draft.bytes.size() + words * sizeof(std::uint64_t);
}

// So that a taker of the record at `at` finds it.
void load(ByteChannel& channel, const OutgoingCargo& cargo, std::uint32_t at) {
  channel.loading_from.store(own_tail(channel).position());
  try {
    load_cargo(channel.loading, cargo, at);
  } catch (...) {
    unload_cargo(channel.loading);
    throw;
  }
}

// Where a record can stand: its ring, and the units to commit, a pad before it included; 0: nowhere yet.
struct Room {
  Segment* segment;
  std::uint32_t units;
};

// Looks for room, and grows the ring as far as it may be.
Room make_room(ByteChannel& channel, Cursor tail, std::uint32_t units, std::uint32_t spare,
               Obstacle& obstacle) {
  Segment* segment = channel.tail_segment.load(std::memory_order_relaxed);
  const std::uint32_t at_once = room_for(channel, *segment, tail, units, spare);
  if (at_once != 0) return {.segment = segment, .units = at_once};
  look_at_head(channel);
  const Cursor head(channel.head_seen.load(std::memory_order_relaxed));
  if (tail.position() - head.position() > std::uint32_t{1} << 30 ||
      tail.count_since(head) >= Cursor::count_mask / 2) {
    throw std::bad_alloc();  // positions and counts would wrap around
  }
  bring_base_along(*segment, tail, head);
  const std::uint32_t now = room_for(channel, *segment, tail, units, spare);
  if (now != 0) return {.segment = segment, .units = now};
  if (channel.most_units != 0 && segment->units() >= channel.most_units) {
    const std::uint32_t rest =
        segment->units() - ((tail.position() - segment->base) & segment->mask);
    const std::uint32_t with_pad = units <= rest ? units : rest + units;
    obstacle.head_position = tail.position() + with_pad + spare - segment->units();
    return {.segment = segment, .units = 0};
  }
  link_larger(channel, units + spare);
  return {.segment = channel.tail_segment.load(), .units = units};
}

// Up to where records can follow one another from `at` on, without a look: there the ring is free, has its pages, and
// does not begin again.
std::uint32_t end_of_room(const ByteChannel& channel, const Segment& segment, std::uint32_t at) {
  const std::uint32_t base = segment.base.load(std::memory_order_relaxed);
  const std::uint32_t head = Cursor(channel.head_seen.load(std::memory_order_relaxed)).position();
  const std::uint32_t from = is_before(head, base) ? base : head;
  const std::uint32_t index = (at - base) & segment.mask;
  const auto with_pages = static_cast<std::uint32_t>(segment.populated / Cursor::unit);
  return at + std::min(segment.units() - (at - from), with_pages - index);
}

// The same as make_room(), and makes ready what is there: pages, a pad, and the end of the room for those who come.
[[gnu::noinline]] Room take_room(ByteChannel& channel, Cursor tail, std::uint32_t units,
                                 std::uint32_t spare, Obstacle& obstacle) {
  const Room room = make_room(channel, tail, units, spare, obstacle);
  if (room.units == 0) return room;
  Segment& segment = *room.segment;
  const std::uint32_t at = tail.position() + (room.units - units);
  populate_for(segment, at, units);
  if (room.units != units) {
    populate_for(segment, tail.position(), 1);
    const std::size_t pad = (room.units - units - 1) * Cursor::unit;
    *segment.unit(tail.position()) = record_head(pad, RecordKind::pad);
  }
  // Not behind a pad: if this put does not come to its commit, the next begins at the tail again.
  channel.room_ends = at == tail.position() ? end_of_room(channel, segment, at) : tail.position();
  return room;
}

}  // namespace

bool put_record(ByteChannel& channel, const Draft& draft, Line& line, Obstacle& obstacle) {
  const Cursor tail = own_tail(channel);
  if (tail.is_shut_down()) throw QueueShutDown("put() after shutdown()");
  obstacle.closings = channel.closings.load(std::memory_order_relaxed);
  if (is_full(channel, tail, Cursor(channel.head_seen.load(std::memory_order_relaxed)))) {
    look_at_head(channel);
    const Cursor head(channel.head_seen.load(std::memory_order_relaxed));
    if (is_full(channel, tail, head)) return false;
  }
  const std::size_t length = length_of(draft);
  if (length > longest_message) throw std::bad_alloc();
  const std::uint32_t units = units_for(length);
  const std::uint32_t spare = is_piece(draft.kind) ? 1 : 0;
  Room room{.segment = channel.tail_segment.load(std::memory_order_relaxed), .units = units};
  if (is_before(channel.room_ends, tail.position() + units + spare)) {
    room = take_room(channel, tail, units, spare, obstacle);
    if (room.units == 0) return false;
  }
  if (channel.bell.wanted.load(std::memory_order_relaxed) != Bell::no) {
    ring_before_commit(channel, line);
  }
  const std::uint32_t at = tail.position() + (room.units - units);
  if (draft.cargo != nullptr) load(channel, *draft.cargo, at);
  std::uint64_t* record = room.segment->unit(at);
  record[0] = record_head(length, draft.kind);
  write_contents(channel, draft, record + 1);
  const std::uint32_t end = tail.position() + room.units;
  prefetch_ahead(*room.segment, tail.position(), end);
  if (draft.kind == RecordKind::last) channel.streaming_to.store(noted(end));
  // If killed here: the message was never put; its space is written over by the next.
  commit_tail(channel, tail.moved_to(end));
  // If killed here: the message is put; recover_tail() sees that its cargo is on its way.
  if (draft.cargo != nullptr) channel.loading.name(nullptr);
  return true;
}

bool has_room(const ByteChannel& channel, const Obstacle& obstacle) noexcept {
  const Cursor head(channel.head.load(std::memory_order_acquire));
  const Cursor tail(channel.tail.load(std::memory_order_acquire));
  if (tail.is_shut_down()) return true;
  if (channel.closings.load(std::memory_order_relaxed) != obstacle.closings) return true;
  if (channel.most_items != 0) return !is_full(channel, tail, head);
  return !is_before(head.position(), obstacle.head_position);
}

namespace {

// False when there was none in time.
[[gnu::noinline]] bool wait_for_room(ByteChannel& channel, const Obstacle& obstacle, Line& line,
                                     Deadline deadline) {
  Waiting waiting({.kind = WaitKind::room, .target = target_of(channel)}, deadline);
  const auto look_around = [&] {
    line.look_for_readers();
    SoftLimit::check(deadline);
    waiting.look_around();
  };
  look_around();
  return channel.room.wait([&] { return has_room(channel, obstacle); }, deadline, look_around);
}

bool put_when_possible(ByteChannel& channel, std::span<const std::byte> bytes,
                       const OutgoingCargo& cargo, Line& line, Deadline deadline) {
  const Draft draft{.kind = cargo.empty() ? RecordKind::message : RecordKind::message_with_cargo,
                    .bytes = bytes,
                    .cargo = cargo.empty() ? nullptr : &cargo};
  bool waited = false;
  while (true) {
    Obstacle obstacle{};
    {
      const RobustGuard guard(channel.tail_lock, [&] { recover_tail(channel); });
      if (put_record(channel, draft, line, obstacle)) break;
    }
    if (!wait_for_room(channel, obstacle, line, deadline)) return false;
    waited = true;
  }
  // If killed here: readers see the message at the end of their slices.
  channel.items.notify();
  if (channel.bell.wanted.load(std::memory_order_relaxed) != Bell::no) {
    ring_after_commit(channel, line);
  }
  if (waited) channel.room.notify();
  return true;
}

}  // namespace

// Flat, as try_get() is: without it much of a small message's time goes to calls, and to what these pass in
// memory. `./tests/run bench`: queue_rate.
[[gnu::flatten]] bool put(ByteChannel& channel, std::span<const std::byte> bytes,
                          const OutgoingCargo& cargo, Line& line, Deadline deadline) {
  hungry_gets = 0;
  ++puts_in_a_row;
  if (cargo.descriptors.empty()) return put_when_possible(channel, bytes, cargo, line, deadline);
  return when_descriptors_have_room(
      deadline, line, [&] { return put_when_possible(channel, bytes, cargo, line, deadline); });
}

bool when_descriptors_have_room(Deadline deadline, Line& line, FunctionRef<bool()> put) {
  constexpr timespec little{.tv_sec = 0, .tv_nsec = 1'000'000};
  while (true) {
    try {
      return put();
    } catch (const NoRoomForDescriptors&) {
      if (deadline.has_passed()) return false;
    }
    line.look_for_readers();
    SoftLimit::check(deadline);
    nanosleep(&little, nullptr);
  }
}

void begin_message(ByteChannel& channel) {
  channel.streaming_to.store(0);
  channel.streaming_from.store(noted(own_tail(channel).position()));
}

void end_message(ByteChannel& channel) { channel.streaming_from.store(0); }

void abort_message(ByteChannel& channel) {
  const Cursor tail = own_tail(channel);
  // Every piece left this unit free, and the pages of the whole ring were there before the first.
  *channel.tail_segment.load()->unit(tail.position()) = record_head(0, RecordKind::abort);
  channel.streaming_to.store(noted(tail.position() + 1));
  // If killed on either side of this: settle_streaming() sees which.
  commit_tail(channel, tail.moved_to(tail.position() + 1));
  end_message(channel);
}

void settle_streaming(ByteChannel& channel) {
  const std::uint64_t from = channel.streaming_from.load();
  if (from == 0) return;
  const std::uint64_t now = noted(own_tail(channel).position());
  // Not one piece was put; or all were.
  if (now == from || now == channel.streaming_to.load()) {
    end_message(channel);
  } else {
    abort_message(channel);
  }
}

}  // namespace kin::detail
