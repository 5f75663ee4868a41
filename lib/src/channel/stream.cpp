// SPDX-License-Identifier: BSL-1.0
//
// Sending and receiving through a pipe: messages of any size through a ring of fixed size, and the end
// of the stream.

#include "channel/stream.hpp"

#include "channel/writer.hpp"
#include "deadlock/waiting.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <chrono>
#include <optional>

namespace kin::detail {
namespace {

constexpr std::size_t largest_whole = std::size_t{32} << 10;
constexpr std::size_t largest_piece = std::size_t{32} << 10;
// Wherever the tail stands in the ring, a piece fits when the ring is empty.
static_assert(2 * units_for(std::max(largest_whole, largest_piece) + 2 * sizeof(std::uint64_t)) <
              pipe_units);

Deadline end_of_slice(Deadline deadline) {
  return Deadline::at(std::min(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds));
}

// ---- sending

void announce(ByteChannel& channel, Line& line) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // SYNC bell: no unlock lies in between
  channel.items.notify();
  if (channel.bell.wanted.load(std::memory_order_relaxed) != Bell::no) {
    ring_after_commit(channel, line);
  }
}

void put_piece(ByteChannel& channel, const Draft& draft, PipeLine& line) {
  Obstacle obstacle{};
  const auto look_around = [&] {
    line.look_for_readers();
    // A message that has begun is not torn.
    if (draft.total != 0) SoftLimit::check();
  };
  while (!put_record(channel, draft, line, obstacle)) {
    look_around();
    channel.room.wait([&] { return has_room(channel, obstacle); }, Deadline::never(), look_around);
  }
  announce(channel, line);
}

void put_pieces(ByteChannel& channel, std::span<const std::byte> bytes, const OutgoingCargo& cargo,
                PipeLine& line) {
  const std::size_t total = bytes.size();
  const Draft draft{.kind = cargo.empty() ? RecordKind::first : RecordKind::first_with_cargo,
                    .bytes = bytes.first(largest_piece),
                    .total = total,
                    .cargo = cargo.empty() ? nullptr : &cargo};
  put_piece(channel, draft, line);
  for (bytes = bytes.subspan(largest_piece); !bytes.empty();) {
    const std::size_t size = std::min(bytes.size(), largest_piece);
    const RecordKind kind = size == bytes.size() ? RecordKind::last : RecordKind::middle;
    put_piece(channel, {.kind = kind, .bytes = bytes.first(size)}, line);
    bytes = bytes.subspan(size);
  }
}

void send_in_pieces(ByteChannel& channel, std::span<const std::byte> bytes,
                    const OutgoingCargo& cargo, PipeLine& line) {
  const RobustGuard guard(
      channel.tail_lock, Deadline::never(), [] { SoftLimit::check(); },
      [&] { recover_tail(channel); });
  if (channel.tail_segment.load()->units() < pipe_units) link_larger(channel, pipe_units);
  // All of its pages before the first piece: whoever aborts the message must not want for one.
  Segment& ring = *channel.tail_segment.load();
  populate_for(ring, ring.base, ring.units());
  begin_message(channel);
  try {
    put_pieces(channel, bytes, cargo, line);
    end_message(channel);
  } catch (...) {
    settle_streaming(channel);
    announce(channel, line);
    throw;
  }
}

// ---- receiving

// Asked in this order: what was sent before the end came is there now.
bool is_over(const ByteChannel& channel, PipeLine& line) {
  return line.peer_is_gone() && !has_items(channel);
}

// Sleeps until there may be something, a slice at most. False when it is over.
bool sleep_for_message(ByteChannel& channel, PipeLine& line, Deadline deadline) {
  SoftLimit::check();
  want_bell_once(channel);
  if (has_items(channel)) return true;
  if (!line.sleep(end_of_slice(deadline)) || has_items(channel)) return true;
  if (is_over(channel, line)) return false;
  silence_false_alarm(channel, line);
  return true;
}

}  // namespace

void PipeLine::look_for_readers() {
  if (peer_is_gone()) throw BrokenPipe("nobody has the other end of the pipe any more");
}

// Not in poll(): what rang there is not for who is in the middle of a message, and could not be silenced
// while the writer holds its lock.
bool PipeLine::wait_for_piece(ByteChannel& channel) {
  constexpr std::chrono::milliseconds moment(50);
  const auto ready = [&] { return has_items(channel); };
  if (channel.items.wait(ready, Deadline::after(moment))) return true;
  {
    // Had the writer died? Who takes its lock over aborts the message.
    channel.tail_lock.recover_unmarked();
    const RobustGuard guard(std::try_to_lock, channel.tail_lock, [&] { recover_tail(channel); });
  }
  return !is_over(channel, *this);
}

void send(ByteChannel& channel, std::span<const std::byte> bytes, const OutgoingCargo& cargo,
          PipeLine& line) {
  if (line.is_time_to_look(channel)) line.look_for_readers();
  if (bytes.size() <= largest_whole) {
    put(channel, bytes, cargo, line, Deadline::never());
  } else {
    hungry_gets = 0;
    when_descriptors_have_room(Deadline::never(), line, [&] {
      send_in_pieces(channel, bytes, cargo, line);
      return true;
    });
    channel.room.notify();
  }
}

bool receive(ByteChannel& channel, Sink sink, IncomingCargo* cargo, PipeLine& line,
             Deadline deadline) {
  constexpr const char* over =
      "all was received, and nobody has the other end of the pipe any more";
  // A look, too, waits for a reader that is just taking a message: there may be another behind it.
  const Deadline for_lock =
      deadline.is_passed_from_start() ? end_of_slice(Deadline::never()) : deadline;
  std::optional<Waiting> waiting;
  while (!try_get(channel, sink, cargo, line, for_lock)) {
    if (deadline.has_passed()) {
      if (is_over(channel, line)) throw EndOfStream(over);
      return false;
    }
    if (!waiting) linger();
    if (look_a_moment(channel)) continue;
    hungry_gets = 0;
    const auto ready = [&] { return has_items(channel); };
    if (!waiting) {
      if (spin(ready, deadline, nullptr)) continue;
      waiting.emplace(Wait{.kind = WaitKind::message, .target = target_of(channel)}, deadline);
    }
    waiting->look_around();
    if (!sleep_for_message(channel, line, deadline)) throw EndOfStream(over);
  }
  channel.room.notify();
  return true;
}

bool wait_to_receive(ByteChannel& channel, PipeLine& line, Deadline deadline) {
  const auto ready = [&] { return has_items(channel); };
  while (!has_message(channel, line)) {
    if (is_over(channel, line)) return true;
    if (deadline.has_passed()) return false;
    if (spin(ready, deadline, nullptr)) continue;
    if (!sleep_for_message(channel, line, deadline)) return true;
  }
  return true;
}

}  // namespace kin::detail
