// SPDX-License-Identifier: BSL-1.0
//
// How a channel grows and shrinks: a chain of rings, the later the larger. Writers link, readers
// free; a segment that is on its way into the chain or out of it stands in a field of the channel.

#include "channel/segment.hpp"

#include "channel/byte_channel.hpp"

#include <algorithm>
#include <bit>
#include <new>

namespace kin::detail {
namespace {

constexpr std::uint32_t first_units = 256;                            // 2 KiB
constexpr std::uint32_t usual_units = (std::uint32_t{16} << 10) / 8;  // what follows a large one
constexpr std::size_t populate_step = std::size_t{256} << 10;

constexpr std::size_t segment_size(std::uint32_t units) {
  return Segment::header_size + std::size_t{units} * Cursor::unit;
}

Segment& allocate_segment(Owned<Segment>& place, std::uint32_t base, std::uint32_t units) {
  const bool is_run = Heap::is_run(segment_size(units));
  Heap::allocate_into(place, segment_size(units));
  Segment& segment = *place;
  segment.base = base;
  segment.mask = units - 1;
  segment.next.name(nullptr);
  segment.populated = is_run ? 0 : std::size_t{units} * Cursor::unit;
  return segment;
}

// A segment of `units` behind the last one, beginning at the tail.
void link_segment(ByteChannel& channel, std::uint32_t units) {
  Segment& last = *channel.tail_segment.load();
  const std::uint32_t base = Cursor(channel.tail.load()).position();
  channel.room_ends = base;  // what it says is true of the last one only
  Segment& next = allocate_segment(channel.linking, base, units);
  // If killed here: recover_tail() frees it, or finds it linked and goes on.
  last.next.name(&next);
  channel.linking.name(nullptr);
  channel.tail_segment.store(&next);
}

}  // namespace

Segment& allocate_first_segment(Owned<Segment>& place) {
  return allocate_segment(place, 0, first_units);
}

void link_larger(ByteChannel& channel, std::uint32_t needed) {
  const std::uint32_t least = std::bit_ceil(needed);
  const std::uint32_t most = channel.most_units != 0 ? channel.most_units : std::uint32_t{1} << 30;
  const std::uint32_t doubled = channel.tail_segment.load()->units() * 2;
  if (doubled > least && doubled <= most) {
    try {
      link_segment(channel, doubled);
      return;
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): a smaller one may do
    }
  }
  link_segment(channel, least);
}

void populate_up_to(Segment& segment, std::size_t end) {
  const std::size_t all = std::size_t{segment.units()} * Cursor::unit;
  const std::size_t to = std::min(all, (end / populate_step + 1) * populate_step);
  auto* bytes = reinterpret_cast<std::byte*>(&segment) + Segment::header_size;
  populate(bytes + segment.populated, to - segment.populated);
  segment.populated = to;
}

void settle_linking(ByteChannel& channel) {
  if (!channel.linking) return;
  const Segment* last = channel.tail_segment.load();
  if (last->next.get() == channel.linking.get() || last == channel.linking.get()) {
    channel.linking.name(nullptr);
  } else {
    Heap::free_from(channel.linking);
  }
}

void settle_freeing(ByteChannel& channel) {
  if (channel.freeing.get() == channel.head_segment.get()) {
    channel.freeing.name(nullptr);
  } else {
    Heap::free_from(channel.freeing);
  }
}

void move_on(ByteChannel& channel) {
  Segment* old = channel.head_segment.get();
  channel.freeing.name(old);
  channel.head_segment.name(old->next.get());
  // If killed here: recover_head() frees it. Writers don't touch it: they have moved on before.
  Heap::free_from(channel.freeing);
}

void shrink(ByteChannel& channel) {
  if (has_items(channel)) return;
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

}  // namespace kin::detail
