// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/cursor.hpp"
#include "memory/heap.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kin::detail {

struct ByteChannel;

/// A ring of records. A full one is followed by a larger one: see ByteChannel.
struct Segment {
  // The position at which it begins; or, later on, one at which it begins again: see writer.cpp. By writers.
  std::atomic<std::uint32_t> base;
  std::uint32_t mask;  // its size in units, a power of two, less one
  Owned<Segment> next;
  // Written by writers only, so on a line of its own: how many bytes of the ring have their pages.
  alignas(64) std::size_t populated;
  static constexpr std::size_t header_size = 128;

  [[nodiscard]] std::uint32_t units() const noexcept { return mask + 1; }
  /// Given back when it is empty: from 4 MiB on. (16 384 short messages, a usual bound, need 2 MiB, again and again.)
  [[nodiscard]] bool is_large() const noexcept { return units() >= (std::uint32_t{4} << 20) / 8; }
  [[nodiscard]] std::uint64_t* unit(std::uint32_t position) noexcept {
    return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::byte*>(this) + header_size) +
           ((position - base.load(std::memory_order_relaxed)) & mask);
  }
};
static_assert(sizeof(Segment) <= Heap::front_of_run);  // so the pages of its own fields are there

/// Fills `place` with the first segment of a channel.
Segment& allocate_first_segment(Owned<Segment>& place);

// ---- with the tail lock held

/// Links a larger segment behind the last one, `needed` units at least. Throws std::bad_alloc.
void link_larger(ByteChannel& channel, std::uint32_t needed);
/// Makes sure that there are pages behind the first `end` bytes of the ring. Throws std::bad_alloc.
void populate_up_to(Segment& segment, std::size_t end);
/// The same behind these units.
inline void populate_for(Segment& segment, std::uint32_t position, std::uint32_t units) {
  const std::uint32_t index =
      (position - segment.base.load(std::memory_order_relaxed)) & segment.mask;
  const std::size_t end = (std::size_t{index} + units) * Cursor::unit;
  if (end > segment.populated) populate_up_to(segment, end);
}
/// Ends what a dead writer had begun.
void settle_linking(ByteChannel& channel);

// ---- with the head lock held

/// The first segment is used up: its successor begins where the head is.
void move_on(ByteChannel& channel);
/// A channel that had to grow large gives its memory back, if it is empty. Waits for nobody: if a writer
/// is busy, there will be another time.
void shrink(ByteChannel& channel);
/// Ends what a dead reader had begun.
void settle_freeing(ByteChannel& channel);

}  // namespace kin::detail
