// SPDX-License-Identifier: BSL-1.0
//
// A channel as a whole. Its writers are in writer.cpp, its readers in reader.cpp.

#include "channel/byte_channel.hpp"

#include "channel/writer.hpp"

namespace kin::detail {

std::shared_ptr<Claim> make_channel(const ChannelOptions& options) {
  static_assert(sizeof(ByteChannel) <= Heap::channel_size);
  return make_object(ObjectKind::channel, sizeof(ByteChannel), [&](Object& object) {
    auto& channel = static_cast<ByteChannel&>(object);
    channel.tail_lock.initialize();
    channel.head_lock.initialize();
    channel.most_items = options.most_items;
    channel.most_units = options.most_units;
    channel.ledger.kept = options.joinable;
    channel.tail_segment.store(&allocate_first_segment(channel.head_segment));
  });
}

void shut_down(ByteChannel& channel, Line& line) {
  {
    const RobustGuard guard(channel.tail_lock, [&] { recover_tail(channel); });
    if (channel.bell.wanted.load() != Bell::no) ring_before_commit(channel, line);
    // If killed before this: it was never shut down. Behind it: those who wait see it after a slice.
    commit_tail(channel, own_tail(channel).shut());
  }
  channel.items.notify_all();
  channel.room.notify_all();
  if (channel.bell.wanted.load() != Bell::no) ring_after_commit(channel, line);
}

bool is_shut_down(const ByteChannel& channel) noexcept {
  return Cursor(channel.tail.load()).is_shut_down();
}

std::size_t size_of(const ByteChannel& channel) noexcept {
  Cursor head(channel.head.load(std::memory_order_acquire));
  while (true) {
    const Cursor tail(channel.tail.load(std::memory_order_acquire));
    const Cursor still(channel.head.load(std::memory_order_acquire));
    if (still.count_since(head) == 0) return tail.count_since(head);
    head = still;  // something was taken in between: they are not of one moment
  }
}

}  // namespace kin::detail
