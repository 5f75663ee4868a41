// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>

namespace kin::detail {

struct ByteChannel;
class Line;

/// Waking those who wait for a channel's messages in poll(): what writers and readers agree on. The
/// descriptors are each process's own, see Line.
///
/// *Once*: a sleeper of kin's sets `wanted`, looks again, and polls; whoever puts next clears it and
/// rings. Killed between the two: the sleeper looks again at the end of its slice.
/// *Always*: an event loop of the application's has the descriptor, and does not look by itself. So
/// writers ring *before* they commit: killed behind that, there was a false alarm. And the descriptor
/// is silenced only with both locks held and nothing in the channel.
struct Bell {
  enum Wanted : std::uint32_t { no = 0, once = 1, always = 2 };

  std::atomic<std::uint32_t> wanted;  // bits of Wanted
  // It has rung since it was last silenced. Guarded by the tail lock; only with `always`.
  std::atomic<std::uint32_t> has_rung;
  // Of a queue: names its eventfd in the descriptor store. 0: it has none. Guarded by the tail lock.
  std::atomic<std::uint64_t> descriptor;
};

/// From now on who puts next rings. Then look again before you sleep.
void want_bell_once(ByteChannel& channel) noexcept;
/// From now on whoever puts rings, for ever, unless it has rung and was not silenced. True: there are
/// records that nobody rang for.
bool want_bell_always(ByteChannel& channel);

/// With the tail lock held, before a commit. What it throws is said at Line::ring().
void ring_before_commit(ByteChannel& channel, Line& line);
/// After the commit and a full fence, which an unlock is on x86.
void ring_after_commit(ByteChannel& channel, Line& line) noexcept;

/// With the head lock held, when the channel was found empty. True: it is not, any more.
bool silence_bell(ByteChannel& channel, Line& line);
/// Without it, for a sleeper that was woken and found nothing: somebody else has taken it.
void silence_false_alarm(ByteChannel& channel, Line& line);

}  // namespace kin::detail
