// SPDX-License-Identifier: BSL-1.0
//
// Waking those who wait for a channel in poll().

#include "channel/bell.hpp"

#include "channel/byte_channel.hpp"

#include <exception>

namespace kin::detail {

void want_bell_once(ByteChannel& channel) noexcept {
  channel.bell.wanted.fetch_or(Bell::once);
  // SYNC bell: pairs with the fence behind a writer's commit: one of the two sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

bool want_bell_always(ByteChannel& channel) {
  const RobustGuard guard(channel.tail_lock, [&] { recover_tail(channel); });
  channel.bell.wanted.fetch_or(Bell::always);
  return has_items(channel) && channel.bell.has_rung.load() == 0;
}

void ring_before_commit(ByteChannel& channel, Line& line) {
  Bell& bell = channel.bell;
  if ((bell.wanted.load() & Bell::always) == 0 || bell.has_rung.load() != 0) return;
  line.ring();  // what it throws, the put does: nobody would tell an event loop of this message
  // If killed here: it rings again; one silence is for all.
  bell.has_rung.store(1);
}

void ring_after_commit(ByteChannel& channel, Line& line) noexcept {
  if ((channel.bell.wanted.load() & Bell::once) == 0) return;
  if ((channel.bell.wanted.fetch_and(~std::uint32_t{Bell::once}) & Bell::once) == 0) return;
  // If killed here: the sleepers look again at the end of their slices.
  try {
    line.ring();
  } catch (const std::exception& error) {
    static_cast<void>(error);  // as if killed
  }
}

bool silence_bell(ByteChannel& channel, Line& line) {
  // A writer that is about to commit may have rung before, and counts on it; so wait for it. Unless it
  // is stopped, that is a moment; or else the channel is not empty any more, for it puts pieces.
  const Deadline slice = Deadline::at(Deadline::now() + slice_nanoseconds);
  while (true) {
    const Deadline moment = Deadline::at(Deadline::now() + 1'000'000);
    const RobustGuard guard(channel.tail_lock, moment, [&] { recover_tail(channel); });
    if (has_items(channel)) return true;
    if (is_shut_down(channel)) return false;  // that is news for ever
    if (guard.holds()) {
      // If killed in between: it stays readable, a false alarm.
      channel.bell.has_rung.store(0);
      line.silence();
      return false;
    }
    if (slice.has_passed()) break;
  }
  want_bell_once(channel);  // that writer rings when it goes on
  if (has_items(channel)) return true;
  // Unless it is killed then, right behind its commit. It has rung for that before, which a loop that is
  // told of edges has seen and forgotten: so such a loop comes again, until the writer has gone on.
  line.ring_here();
  return false;
}

void silence_false_alarm(ByteChannel& channel, Line& line) {
  const RobustGuard guard(std::try_to_lock, channel.head_lock, [&] { recover_head(channel); });
  if (guard.holds() && !has_items(channel)) silence_bell(channel, line);
}

}  // namespace kin::detail
