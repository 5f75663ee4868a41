// SPDX-License-Identifier: BSL-1.0
//
// Taking: a record's bytes are handed out, and one store to the head commits it.

#include "base/cache_lines.hpp"
#include "channel/byte_channel.hpp"
#include "channel/record.hpp"
#include "deadlock/waiting.hpp"
#include "waiting/pause.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

namespace kin::detail {
namespace {

// Where this thread found no record yet when it looked last. Only for the processor, nothing is read
// there.
[[gnu::tls_model("initial-exec")]] thread_local const std::uint64_t* next_record = nullptr;

// All below with the head lock held.

Segment& first_segment(ByteChannel& channel, Cursor head) {
  Segment* segment = channel.head_segment.get();
  while (segment->next && segment->next->base == head.position()) {
    move_on(channel);
    segment = channel.head_segment.get();
  }
  return *segment;
}

// A record as it stands in its ring, behind the pad that may be before it.
struct Found {
  std::uint64_t* words;
  std::uint32_t position;

  Found(Segment& segment, std::uint32_t at) : words(segment.unit(at)), position(at) {
    if (kind() != RecordKind::pad) return;
    position += units_for(length());
    words = segment.unit(position);
  }
  [[nodiscard]] RecordKind kind() const { return kind_in(words[0]); }
  [[nodiscard]] std::size_t length() const { return length_in(words[0]); }
  [[nodiscard]] std::uint32_t units() const { return units_for(length()); }
  [[nodiscard]] std::uint32_t end() const { return position + units(); }
  // What follows so many words of its own.
  [[nodiscard]] std::span<const std::byte> bytes(std::size_t own_words) const {
    return {reinterpret_cast<const std::byte*>(words + 1 + own_words),
            length() - own_words * sizeof(std::uint64_t)};
  }
};

// Hands out a record's bytes. When the ring comes round the writer wants the record's lines back, and waits for each in
// the unlock behind its put: where it gets them sooner for that, they are written to. Not those of a record far behind
// the tail (where it was seen last), which have left the writer's cache: to write to them would wait as well.
// `./tests/run bench`: queue_rate.
// If killed in between: the record holds what it held.
void hand_out(const ByteChannel& channel, const Found& found, Sink sink, const Part& part) {
  constexpr std::uint32_t far = (std::uint32_t{128} << 10) / Cursor::unit;
  sink(part);
  if (!reading_slows_the_writer) return;
  const Cursor tail(channel.tail_seen.load(std::memory_order_relaxed));
  if (tail.position() - found.position < far) write_back({found.words, found.units()});
}

void commit(ByteChannel& channel, Cursor head, const Found& found) {
  // SYNC head: the bytes were read before this; pairs with the acquire in look_at_head().
  channel.head.store(head.moved_to(found.end()).word(), std::memory_order_release);
}

// To writers that wait for room, in the middle of things.
void tell_of_room(ByteChannel& channel) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // SYNC park: no unlock lies in between
  channel.room.notify();
}

// Takes a message of one record.
void take_whole(ByteChannel& channel, Cursor head, const Found& found, Sink sink) {
  const std::span<const std::byte> bytes = found.bytes(0);
  hand_out(channel, found, sink, {.bytes = bytes, .offset = 0, .total = bytes.size()});
  if (channel.ledger.kept) note_taking(channel, found.end());
  // If killed here: the message is still there.
  commit(channel, head, found);
  // If killed here: the message went with its taker; recover_head() ends what follows.
  if (channel.ledger.kept) note_taken(channel);
}

// The same for one with cargo, or for the first piece of one.
void take_with_more(ByteChannel& channel, Cursor head, const Found& found, Sink sink,
                    IncomingCargo* incoming) {
  const bool is_piece = found.kind() != RecordKind::message_with_cargo;
  const bool has_cargo = found.kind() != RecordKind::first;
  const std::size_t own_words = (is_piece ? 1U : 0U) + (has_cargo ? 1U : 0U);
  const std::span<const std::byte> bytes = found.bytes(own_words);
  Cargo* cargo = has_cargo ? reinterpret_cast<Cargo*>(found.words[own_words]) : nullptr;
  hand_out(channel, found, sink,
           {.bytes = bytes, .offset = 0, .total = is_piece ? found.words[1] : bytes.size()});
  if (cargo != nullptr && incoming != nullptr) claim_cargo(*cargo, *incoming);
  if (channel.ledger.kept) note_taking(channel, found.end());
  if (cargo != nullptr) channel.unloading.name(cargo);
  // If killed here: the message is still there; the cargo's cells are, and the claims go in the sweep.
  commit(channel, head, found);
  if (channel.ledger.kept) note_taken(channel);
  if (cargo != nullptr) unload_cargo(channel.unloading);
}

// Takes the pieces behind the first, of which there were so many bytes. False: the message will never be
// whole.
bool take_pieces(ByteChannel& channel, std::size_t offset, std::size_t total, Sink sink,
                 Line& line) {
  while (true) {
    tell_of_room(channel);
    while (!has_items(channel)) {
      if (!line.wait_for_piece(channel)) return false;
    }
    channel.tail_seen.store(channel.tail.load(std::memory_order_acquire),
                            std::memory_order_relaxed);
    const Cursor head(channel.head.load(std::memory_order_relaxed));
    const Found found(first_segment(channel, head), head.position());
    const RecordKind kind = found.kind();
    const bool is_piece = kind == RecordKind::middle || kind == RecordKind::last;
    const std::span<const std::byte> bytes = found.bytes(0);
    const bool fits = is_piece && bytes.size() <= total - offset;
    if (fits) {
      hand_out(channel, found, sink, {.bytes = bytes, .offset = offset, .total = total});
    }
    offset += bytes.size();
    // If killed on either side of this: whoever reads next drops the rest of the message.
    if (is_piece || kind == RecordKind::abort) commit(channel, head, found);
    if (!fits) return false;
    if (kind == RecordKind::last) return offset == total;
  }
}

// Whether records came since the readers looked at the tail. Throws QueueShutDown if none ever will.
bool look_at_tail(ByteChannel& channel, Cursor head, Line& line) {
  while (true) {
    // SYNC tail: pairs with the release in put_record().
    const Cursor tail(channel.tail.load(std::memory_order_acquire));
    channel.tail_seen.store(tail.word(), std::memory_order_relaxed);
    if (tail.position() != head.position()) return true;
    if (tail.is_shut_down()) throw QueueShutDown("the queue is empty and was shut down");
    if ((channel.bell.wanted.load(std::memory_order_relaxed) & Bell::always) == 0) return false;
    if (!silence_bell(channel, line)) return false;
  }
}

bool is_orphan(RecordKind kind) {
  return kind == RecordKind::middle || kind == RecordKind::last || kind == RecordKind::abort;
}

// Whether a message stands at the head; drops what a dead reader has left of one.
bool find_message(ByteChannel& channel, Line& line) {
  while (true) {
    // Relaxed: written under this lock only.
    const Cursor head(channel.head.load(std::memory_order_relaxed));
    const Cursor tail(channel.tail_seen.load(std::memory_order_relaxed));
    if (tail.position() == head.position() && !look_at_tail(channel, head, line)) {
      next_record = channel.head_segment->unit(head.position());
      return false;
    }
    if (channel.most_units == 0) return true;  // nothing comes in pieces there
    const Found found(first_segment(channel, head), head.position());
    if (!is_orphan(found.kind())) return true;
    commit(channel, head, found);
    tell_of_room(channel);  // its writer waits for room for the rest of it
  }
}

// Holds the head lock, if it was to be had in time.
class Reading {
 public:
  Reading(ByteChannel& channel, Deadline for_lock)
      : guard_(channel.head_lock, for_lock, [&channel] { recover_head(channel); }) {}
  [[nodiscard]] bool holds() const noexcept { return guard_.holds(); }

 private:
  RobustGuard guard_;
};

}  // namespace

bool has_items(const ByteChannel& channel) noexcept {
  // Read in this order: the tail is never behind a head that was read before it.
  const Cursor head(channel.head.load(std::memory_order_acquire));
  const Cursor tail(channel.tail.load(std::memory_order_acquire));
  return tail.position() != head.position();
}

bool has_message(ByteChannel& channel, Line& line) {
  const Reading reading(channel, Deadline::passed());
  if (!reading.holds()) return has_items(channel);
  return find_message(channel, line);
}

[[gnu::flatten]] bool try_get(ByteChannel& channel, Sink sink, IncomingCargo* cargo, Line& line,
                              Deadline for_lock) {
  puts_in_a_row = 0;
  const Reading reading(channel, for_lock);
  if (!reading.holds()) return false;
  while (find_message(channel, line)) {
    const Cursor head(channel.head.load(std::memory_order_relaxed));
    Segment& segment = first_segment(channel, head);
    const Found found(segment, head.position());
    bool whole = true;
    if (found.kind() == RecordKind::message) {
      take_whole(channel, head, found, sink);
    } else {
      const bool is_piece = found.kind() != RecordKind::message_with_cargo;
      const std::size_t total = is_piece ? found.words[1] : 0;
      const std::size_t taken = found.bytes(found.kind() == RecordKind::first ? 1 : 2).size();
      take_with_more(channel, head, found, sink, cargo);
      whole = !is_piece || take_pieces(channel, taken, total, sink, line);
    }
    if (segment.is_large()) shrink(channel);
    const bool watched = (channel.bell.wanted.load(std::memory_order_relaxed) & Bell::always) != 0;
    if (watched && !has_items(channel)) silence_bell(channel, line);
    if (whole) return true;
    tell_of_room(channel);
    if (cargo != nullptr) cargo->clear();
  }
  return false;
}

// A thread that only consumes, and faster than others produce, would take the writers' line from them
// for every single message. It comes a moment later instead, and finds several. A thread that answers
// (puts between its gets) is never held up.
void linger() {
  constexpr unsigned hungry = 8;
  constexpr int moment = 200;  // pauses: 2 to 4 µs
  if (++hungry_gets <= hungry) return;
  for (int i = 0; i < moment; ++i) pause();
}

// Waiting begins here, where looking is one load: for an answer that is on its way from another core
// even the few calls down to ParkingSpot count. The record comes from there as well: it is asked for as soon as it
// is seen that it was put, and is on its way while the lock is taken.
bool look_a_moment(const ByteChannel& channel) {
  constexpr int looks = 100;  // about 1 to 3 µs
  constexpr std::size_t line_units = 8;
  const std::uint64_t seen = channel.tail_seen.load(std::memory_order_relaxed);
  for (int i = 0; i < looks; ++i) {
    pause();
    if (channel.tail.load(std::memory_order_relaxed) == seen) continue;
    __builtin_prefetch(next_record);
    __builtin_prefetch(next_record + line_units);
    return true;
  }
  return false;
}

namespace {

// False when none came in time.
bool wait_for_items(ByteChannel& channel, Deadline deadline) {
  SoftLimit::check(deadline);
  Waiting waiting({.kind = WaitKind::message, .target = target_of(channel)}, deadline);
  const auto ready = [&] { return has_items(channel) || is_shut_down(channel); };
  return channel.items.wait(ready, deadline, [&] {
    SoftLimit::check();
    waiting.look_around();
  });
}

}  // namespace

[[gnu::flatten]] bool get(ByteChannel& channel, Sink sink, IncomingCargo* cargo, Line& line,
                          Deadline deadline) {
  bool waited = false;
  while (!try_get(channel, sink, cargo, line, Deadline::never())) {
    if (deadline.is_passed_from_start()) return false;
    if (!waited) linger();
    if (look_a_moment(channel)) continue;
    hungry_gets = 0;  // nothing is in a hurry here
    if (!wait_for_items(channel, deadline)) return false;
    waited = true;
  }
  if (channel.most_items != 0) channel.room.notify();
  // Who was woken passes on what it leaves.
  if (waited && has_items(channel)) channel.items.notify();
  return true;
}

}  // namespace kin::detail
