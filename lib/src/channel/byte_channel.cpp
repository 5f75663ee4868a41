// SPDX-License-Identifier: BSL-1.0
//
// Puts and gets. Runs in whatever process uses a queue; all that moves bytes between kin ends here.
//
// A record is a unit {length : 56, kind : 8} and the payload, padded to units. It never wraps around:
// where the rest of the ring is too small a pad record fills it, which is put and taken together with
// the record behind it.

#include "channel/byte_channel.hpp"

#include "waiting/pause.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <new>

namespace kin::detail {
namespace {

enum class Kind : std::uint8_t { message = 1, with_cargo = 2, pad = 3 };

constexpr std::uint64_t record_head(std::size_t length, Kind kind) {
  return (static_cast<std::uint64_t>(length) << 8) | static_cast<std::uint64_t>(kind);
}
constexpr std::size_t length_in(std::uint64_t head) { return head >> 8; }
constexpr Kind kind_in(std::uint64_t head) { return static_cast<Kind>(head & 0xff); }

constexpr std::uint32_t first_units = 256;                           // 2 KiB
constexpr std::uint32_t large_units = (std::uint32_t{1} << 20) / 8;  // 1 MiB: given back when empty
constexpr std::uint32_t usual_units = (std::uint32_t{16} << 10) / 8;  // what follows it then
constexpr std::size_t populate_step = std::size_t{256} << 10;
constexpr std::size_t longest_message = std::size_t{4} << 30;

constexpr std::size_t segment_size(std::uint32_t units) {
  return Segment::header_size + std::size_t{units} * Cursor::unit;
}

void set_up(Segment& segment, std::uint32_t base, std::uint32_t units) {
  segment.base = base;
  segment.mask = units - 1;
  segment.next.name(nullptr);
  segment.populated = Heap::is_run(segment_size(units)) ? 0 : std::size_t{units} * Cursor::unit;
}

Segment& allocate_segment(Owned<Segment>& place, std::uint32_t base, std::uint32_t units) {
  std::byte* block = Heap::allocate_into(place, segment_size(units));
  try {
    if (Heap::is_run(segment_size(units))) populate(block, Segment::header_size);
  } catch (...) {
    Heap::free_from(place);
    throw;
  }
  set_up(*place, base, units);
  return *place;
}

// ---- the writers' side; all of it with the tail lock held

using Unload = void (*)(Owned<Cargo>&);

void settle_linking(ByteChannel& channel) {
  if (!channel.linking) return;
  const Segment* last = channel.tail_segment.load();
  if (last->next.get() == channel.linking.get() || last == channel.linking.get()) {
    channel.linking.name(nullptr);
  } else {
    Heap::free_from(channel.linking);
  }
}

void settle_loading(ByteChannel& channel, Unload unload) {
  if (!channel.loading) return;
  const bool was_put = Cursor(channel.tail.load()).position() != channel.loading_from.load();
  if (was_put) {
    channel.loading.name(nullptr);
  } else {
    unload(channel.loading);
  }
}

void recover_tail(ByteChannel& channel) {
  Heap::recover();
  settle_linking(channel);
  const Segment* last = channel.tail_segment.load();
  if (last->next) channel.tail_segment.store(last->next.get());
  settle_loading(channel, unload_cargo);
}

// A segment of `units` behind the last one, beginning at the tail.
void link_segment(ByteChannel& channel, std::uint32_t units) {
  Segment& last = *channel.tail_segment.load();
  Segment& next = allocate_segment(channel.linking, Cursor(channel.tail.load()).position(), units);
  // If killed here: recover_tail() frees it, or finds it linked and goes on.
  last.next.name(&next);
  channel.linking.name(nullptr);
  channel.tail_segment.store(&next);
}

void link_larger(ByteChannel& channel, std::uint32_t needed) {
  const std::uint32_t least = std::bit_ceil(needed);
  const std::uint32_t doubled = channel.tail_segment.load()->units() * 2;
  if (doubled > least && doubled <= (std::uint32_t{1} << 30)) {
    try {
      link_segment(channel, doubled);
      return;
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): a smaller one may do
    }
  }
  link_segment(channel, least);
}

// Where a record of `units` can stand: the units to commit, a pad before it included; 0: no room.
std::uint32_t room_for(const ByteChannel& channel, const Segment& segment, Cursor tail,
                       std::uint32_t units) {
  const Cursor head(channel.head_seen.load(std::memory_order_relaxed));
  const std::uint32_t from =
      is_before(head.position(), segment.base) ? segment.base : head.position();
  const std::uint32_t used = tail.position() - from;
  const std::uint32_t rest = segment.units() - ((tail.position() - segment.base) & segment.mask);
  const std::uint64_t wanted = units <= rest ? units : std::uint64_t{rest} + units;
  return used + wanted <= segment.units() ? static_cast<std::uint32_t>(wanted) : 0;
}

void populate_for(Segment& segment, std::uint32_t position, std::uint32_t units) {
  const std::uint32_t index = (position - segment.base) & segment.mask;
  const std::size_t end = (std::size_t{index} + units) * Cursor::unit;
  if (end <= segment.populated) return;
  const std::size_t all = std::size_t{segment.units()} * Cursor::unit;
  const std::size_t to = std::min(all, (end / populate_step + 1) * populate_step);
  auto* bytes = reinterpret_cast<std::byte*>(&segment) + Segment::header_size;
  populate(bytes + segment.populated, to - segment.populated);
  segment.populated = to;
}

bool is_full(const ByteChannel& channel, Cursor tail, Cursor head) {
  return channel.most_items != 0 && tail.count_since(head) >= channel.most_items;
}

// Writes the record and commits. The channel is not full.
void put_record(ByteChannel& channel, Cursor tail, std::span<const std::byte> bytes,
                std::span<const Handle> handles) {
  const std::size_t payload = bytes.size() + (handles.empty() ? 0 : sizeof(std::uint64_t));
  if (payload > longest_message) throw std::bad_alloc();
  const auto units = static_cast<std::uint32_t>(1 + (payload + Cursor::unit - 1) / Cursor::unit);
  Segment* segment = channel.tail_segment.load(std::memory_order_relaxed);
  std::uint32_t wanted = room_for(channel, *segment, tail, units);
  if (wanted == 0) {
    // SYNC head: pairs with the release in get(): what the reader took may be written over.
    channel.head_seen.store(channel.head.load(std::memory_order_acquire),
                            std::memory_order_relaxed);
    const Cursor head(channel.head_seen.load(std::memory_order_relaxed));
    if (tail.position() - head.position() > std::uint32_t{1} << 30 ||
        tail.count_since(head) >= Cursor::count_mask / 2) {
      throw std::bad_alloc();  // positions and counts would wrap around
    }
    wanted = room_for(channel, *segment, tail, units);
  }
  if (wanted == 0) {
    link_larger(channel, units);
    segment = channel.tail_segment.load();
    wanted = units;
  }
  const std::uint32_t at = tail.position() + (wanted - units);
  populate_for(*segment, at, units);
  if (wanted != units) {
    *segment->unit(tail.position()) = record_head((wanted - units - 1) * Cursor::unit, Kind::pad);
  }
  std::uint64_t* record = segment->unit(at);
  record[0] = record_head(payload, handles.empty() ? Kind::message : Kind::with_cargo);
  auto* to = reinterpret_cast<std::byte*>(record + 1);
  if (!handles.empty()) {
    channel.loading_from.store(tail.position());
    try {
      load_cargo(channel.loading, handles, at);
    } catch (...) {
      unload_cargo(channel.loading);
      throw;
    }
    record[1] = reinterpret_cast<std::uint64_t>(channel.loading.get());
    to += sizeof(std::uint64_t);
  }
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  // If killed here: the message was never put; its space is written over by the next.
  // SYNC tail: publishes the record, and the segment it stands in; pairs with the acquire in get().
  channel.tail.store(tail.moved_to(tail.position() + wanted).word(), std::memory_order_release);
  // If killed here: the message is put; recover_tail() sees that its cargo is on its way.
  if (!handles.empty()) channel.loading.name(nullptr);
}

// ---- the readers' side; all of it with the head lock held

void settle_freeing(ByteChannel& channel) {
  if (channel.freeing.get() == channel.head_segment.get()) {
    channel.freeing.name(nullptr);
  } else {
    Heap::free_from(channel.freeing);
  }
}

void settle_unloading(ByteChannel& channel, Unload unload) {
  if (!channel.unloading) return;
  const Cursor head(channel.head.load());
  if (is_before(channel.unloading->position, head.position())) {
    unload(channel.unloading);
  } else {
    channel.unloading.name(nullptr);
  }
}

// The first segment is used up: its successor begins where the head is.
void move_on(ByteChannel& channel) {
  Segment* old = channel.head_segment.get();
  channel.freeing.name(old);
  channel.head_segment.name(old->next.get());
  // If killed here: recover_head() frees it. Writers don't touch it: they have moved on before.
  Heap::free_from(channel.freeing);
}

// An empty channel that had to grow large gives its memory back. Waits for nobody: if a writer is busy,
// there will be another time.
void shrink(ByteChannel& channel) {
  const RobustGuard guard(std::try_to_lock, channel.tail_lock, [&] { recover_tail(channel); });
  if (!guard.holds()) return;
  if (Cursor(channel.tail.load()).position() != Cursor(channel.head.load()).position()) return;
  if (channel.tail_segment.load() != channel.head_segment.get()) return;
  try {
    link_segment(channel, usual_units);
  } catch (const std::bad_alloc&) {
    return;  // then it stays large
  }
  move_on(channel);
}

void take_record(ByteChannel& channel, Cursor head,
                 FunctionRef<void(std::span<const std::byte>)> sink, std::vector<Handle>& handles) {
  Segment* segment = channel.head_segment.get();
  while (segment->next && segment->next->base == head.position()) {
    move_on(channel);
    segment = channel.head_segment.get();
  }
  std::uint32_t at = head.position();
  const std::uint64_t* record = segment->unit(at);
  if (kind_in(record[0]) == Kind::pad) {
    at += static_cast<std::uint32_t>(1 + length_in(record[0]) / Cursor::unit);
    record = segment->unit(at);
  }
  const std::size_t payload = length_in(record[0]);
  const auto* bytes = reinterpret_cast<const std::byte*>(record + 1);
  const bool has_cargo = kind_in(record[0]) == Kind::with_cargo;
  Cargo* cargo = nullptr;
  if (has_cargo) {
    cargo = reinterpret_cast<Cargo*>(record[1]);
    handles = claim_cargo(*cargo);
    sink({bytes + sizeof(std::uint64_t), payload - sizeof(std::uint64_t)});
  } else {
    handles.clear();
    sink({bytes, payload});
  }
  at += static_cast<std::uint32_t>(1 + (payload + Cursor::unit - 1) / Cursor::unit);
  if (channel.ledger.kept) note_taking(channel, at);
  if (has_cargo) channel.unloading.name(cargo);
  // If killed here: the message is still there; the cargo's cells are, and the claims go in the sweep.
  // SYNC head: the bytes were read before this; pairs with the acquire in put_record().
  channel.head.store(head.moved_to(at).word(), std::memory_order_release);
  // If killed here: the message went with its taker; recover_head() ends what follows.
  if (channel.ledger.kept) note_taken(channel);
  if (has_cargo) unload_cargo(channel.unloading);
  if (segment->units() >= large_units &&
      Cursor(channel.tail.load(std::memory_order_relaxed)).position() == at) {
    shrink(channel);
  }
}

bool has_items(const ByteChannel& channel) {
  // Read in this order: the tail is never behind a head that was read before it.
  const Cursor head(channel.head.load(std::memory_order_acquire));
  const Cursor tail(channel.tail.load(std::memory_order_acquire));
  return tail.position() != head.position();
}

bool try_get(ByteChannel& channel, FunctionRef<void(std::span<const std::byte>)> sink,
             std::vector<Handle>& handles) {
  const RobustGuard guard(channel.head_lock, [&] { recover_head(channel); });
  // Relaxed: written under this lock only.
  const Cursor head(channel.head.load(std::memory_order_relaxed));
  if (Cursor(channel.tail_seen.load(std::memory_order_relaxed)).position() == head.position()) {
    // SYNC tail: pairs with the release in put_record().
    const Cursor tail(channel.tail.load(std::memory_order_acquire));
    channel.tail_seen.store(tail.word(), std::memory_order_relaxed);
    if (tail.position() == head.position()) {
      if (tail.is_shut_down()) throw QueueShutDown("the queue is empty and was shut down");
      return false;
    }
  }
  take_record(channel, head, sink, handles);
  return true;
}

// ---- the end of a channel; under the sweep lock, when nobody can use it any more

void unload_records(ByteChannel& channel) {
  Cursor head(channel.head.load());
  const Cursor tail(channel.tail.load());
  Segment* segment = channel.head_segment.get();
  while (segment != nullptr && head.position() != tail.position()) {
    if (segment->next && segment->next->base == head.position()) {
      segment = segment->next.get();
      continue;
    }
    std::uint64_t* record = segment->unit(head.position());
    if (kind_in(record[0]) == Kind::with_cargo) {
      // A place that survivors find again: the record itself.
      unload_cargo_while_destroying(*reinterpret_cast<Owned<Cargo>*>(record + 1));
    }
    const std::size_t units = 1 + (length_in(record[0]) + Cursor::unit - 1) / Cursor::unit;
    head = head.moved_to(head.position() + static_cast<std::uint32_t>(units));
  }
  // So that whoever does this again after a death does not look into segments that are gone.
  channel.tail.store(channel.head.load());
}

bool destroy_channel(Object& object) {
  auto& channel = static_cast<ByteChannel&>(object);
  // Deaths may have left these; nobody locked the channel since. Each is empty afterwards, so that
  // whoever does this again after a death does not take up what is freed below.
  settle_linking(channel);
  settle_loading(channel, unload_cargo_while_destroying);
  settle_freeing(channel);
  settle_unloading(channel, unload_cargo_while_destroying);
  unload_records(channel);
  Heap::free_chain(channel.head_segment);
  Heap::free_chain(channel.ledger.takers);
  return true;
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::channel, destroy_channel);
  return true;
}();

}  // namespace

void recover_head(ByteChannel& channel) {
  Heap::recover();
  settle_freeing(channel);
  settle_unloading(channel, unload_cargo);
  if (channel.ledger.kept) recover_ledger(channel);
}

std::shared_ptr<Claim> make_channel(std::uint32_t most_items, bool joinable) {
  static_assert(sizeof(ByteChannel) <= Heap::channel_size);
  return make_object(ObjectKind::channel, sizeof(ByteChannel), [&](Object& object) {
    auto& channel = static_cast<ByteChannel&>(object);
    channel.tail_lock.initialize();
    channel.head_lock.initialize();
    channel.most_items = most_items;
    channel.ledger.kept = joinable;
    channel.tail_segment.store(&allocate_segment(channel.head_segment, 0, first_units));
  });
}

namespace {

// How often in a row this thread found a channel empty when it came to get, without a put in between.
[[gnu::tls_model("initial-exec")]] thread_local unsigned hungry_gets = 0;

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
// even the few calls down to ParkingSpot count.
bool tail_moves_soon(const ByteChannel& channel) {
  constexpr int looks = 100;  // about 1 to 3 µs
  const std::uint64_t seen = channel.tail_seen.load(std::memory_order_relaxed);
  for (int i = 0; i < looks; ++i) {
    pause();
    if (channel.tail.load(std::memory_order_relaxed) != seen) return true;
  }
  return false;
}

}  // namespace

bool put(ByteChannel& channel, std::span<const std::byte> bytes, std::span<const Handle> handles,
         Deadline deadline) {
  hungry_gets = 0;
  bool waited = false;
  while (true) {
    bool full = false;
    {
      const RobustGuard guard(channel.tail_lock, [&] { recover_tail(channel); });
      // Relaxed: written under this lock only.
      const Cursor tail(channel.tail.load(std::memory_order_relaxed));
      if (tail.is_shut_down()) throw QueueShutDown("put() after shutdown()");
      full = is_full(channel, tail, Cursor(channel.head_seen.load(std::memory_order_relaxed)));
      if (full) {
        channel.head_seen.store(channel.head.load(std::memory_order_acquire));
        full = is_full(channel, tail, Cursor(channel.head_seen.load()));
      }
      if (!full) put_record(channel, tail, bytes, handles);
    }
    if (!full) break;
    const auto has_room = [&] {
      const Cursor head(channel.head.load(std::memory_order_acquire));
      const Cursor tail(channel.tail.load(std::memory_order_acquire));
      return tail.is_shut_down() || !is_full(channel, tail, head);
    };
    if (!channel.room.wait(has_room, deadline)) return false;
    waited = true;
  }
  // If killed here: readers see the message at the end of their slices.
  channel.items.notify();
  if (waited) channel.room.notify();
  return true;
}

bool get(ByteChannel& channel, FunctionRef<void(std::span<const std::byte>)> sink,
         std::vector<Handle>& handles, Deadline deadline) {
  bool waited = false;
  while (!try_get(channel, sink, handles)) {
    if (deadline.is_passed_from_start()) return false;
    if (!waited) linger();
    if (tail_moves_soon(channel)) continue;
    hungry_gets = 0;  // nothing is in a hurry here
    const auto ready = [&] { return has_items(channel) || is_shut_down(channel); };
    if (!channel.items.wait(ready, deadline)) return false;
    waited = true;
  }
  if (channel.most_items != 0) channel.room.notify();
  // Who was woken passes on what it leaves.
  if (waited && has_items(channel)) channel.items.notify();
  return true;
}

void shut_down(ByteChannel& channel) {
  {
    const RobustGuard guard(channel.tail_lock, [&] { recover_tail(channel); });
    // If killed before this: it was never shut down. Behind it: those who wait see it after a slice.
    channel.tail.store(Cursor(channel.tail.load()).shut().word());
  }
  channel.items.notify_all();
  channel.room.notify_all();
}

bool is_shut_down(const ByteChannel& channel) noexcept {
  return Cursor(channel.tail.load()).is_shut_down();
}

std::size_t size_of(const ByteChannel& channel) noexcept {
  const Cursor head(channel.head.load(std::memory_order_acquire));
  const Cursor tail(channel.tail.load(std::memory_order_acquire));
  return tail.count_since(head);
}

}  // namespace kin::detail
