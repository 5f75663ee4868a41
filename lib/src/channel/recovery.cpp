// SPDX-License-Identifier: BSL-1.0
//
// What a death leaves beside the commit words, and the end of a channel. Each thing that may be half
// done stands in a field, which is set before and cleared after the steps that it speaks of.

#include "channel/byte_channel.hpp"
#include "channel/record.hpp"
#include "channel/writer.hpp"
#include "memory/descriptor_store.hpp"

namespace kin::detail {
namespace {

using Unload = void (*)(Owned<Cargo>&);

void settle_loading(ByteChannel& channel, Unload unload) {
  if (!channel.loading) return;
  const bool was_put = Cursor(channel.tail.load()).position() != channel.loading_from.load();
  if (was_put) {
    channel.loading.name(nullptr);
  } else {
    unload(channel.loading);
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
    const RecordKind kind = kind_in(record[0]);
    // A place that survivors find again: the record itself.
    if (kind == RecordKind::message_with_cargo) {
      unload_cargo_while_destroying(*reinterpret_cast<Owned<Cargo>*>(record + 1));
    } else if (kind == RecordKind::first_with_cargo) {
      unload_cargo_while_destroying(*reinterpret_cast<Owned<Cargo>*>(record + 2));
    }
    head = head.moved_to(head.position() + units_for(length_in(record[0])));
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
  const std::uint64_t bell = channel.bell.descriptor.load();
  if (bell != 0) DescriptorStore::discard(bell);
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

void recover_tail(ByteChannel& channel) {
  channel.own_tail.store(channel.tail.load());  // before all that asks where the tail is
  Heap::recover();
  settle_linking(channel);
  const Segment* last = channel.tail_segment.load();
  if (last->next) channel.tail_segment.store(last->next.get());
  settle_loading(channel, unload_cargo);
  settle_streaming(channel);
}

}  // namespace kin::detail
