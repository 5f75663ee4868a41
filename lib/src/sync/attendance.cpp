// SPDX-License-Identifier: BSL-1.0
//
// Who came to a barrier. A note is one word, {the process's number in its slot : 32, generation : 32}, in a
// place that the slot tells: so a process writes it without a lock, and writes it again without harm.

#include "sync/attendance.hpp"

namespace kin::detail {
namespace {

using Note = std::uint64_t;

constexpr Note note_of(Stamp process, std::uint32_t generation) {
  return generation_of(process) << 32 | generation;
}
constexpr std::uint32_t generation_in(Note note) { return static_cast<std::uint32_t>(note); }
constexpr Stamp process_in(Note note, std::size_t slot) { return make_stamp(note >> 32, slot); }

// Of numbers that wrap around.
constexpr bool is_before(std::uint32_t one, std::uint32_t other) {
  return static_cast<std::int32_t>(one - other) < 0;
}

template <typename Visit>
void for_each(const Attendance& attendance, Visit&& visit) {
  constexpr std::size_t size = Attendance::Block::size;
  for (std::size_t i = 0; i < attendance.blocks.size(); ++i) {
    Attendance::Block* block = attendance.blocks[i].get();
    if (block == nullptr) continue;
    for (std::size_t slot = i * size; slot < (i + 1) * size; ++slot) {
      // Visitors may write. NOLINTNEXTLINE(misc-const-correctness)
      std::atomic<Note>& place = block->notes[Attendance::Block::place_of(slot)];
      if (place.load() != 0) visit(place, slot);
    }
  }
}

}  // namespace

void Attendance::make_room(Stamp process) {
  Heap::allocate_into(blocks[slot_of(process) / Block::size], sizeof(Block));
}

bool Attendance::note(std::uint32_t generation, bool nobody_arrived) {
  const Stamp own = this_process();
  const Owned<Block>& block = blocks[slot_of(own) / Block::size];
  if (!block) make_room(own);
  std::atomic<Note>& place = block->notes[Block::place_of(slot_of(own))];
  Note seen = place.load();
  do {
    if (seen != 0 && !is_before(generation_in(seen), generation)) {
      if (process_in(seen, slot_of(own)) == own) return true;  // another thread was here
      if (!nobody_arrived) return false;
    }
    // If killed behind it, and not arrived yet: it counts as one that came.
  } while (!place.compare_exchange_weak(seen, note_of(own, generation)));
  return true;
}

Stamp Attendance::find(std::uint32_t generation, FunctionRef<bool(Stamp)> is_it) const {
  Stamp found = 0;
  for_each(*this, [&](const std::atomic<Note>& place, std::size_t slot) {
    const Note note = place.load();
    if (found != 0 || note == 0 || generation_in(note) != generation) return;
    if (is_it(process_in(note, slot))) found = process_in(note, slot);
  });
  return found;
}

void Attendance::forget_before(std::uint32_t generation) const {
  for_each(*this, [&](std::atomic<Note>& place, std::size_t) {
    Note note = place.load();
    // Fails when the process comes at this moment.
    if (is_before(generation_in(note), generation)) place.compare_exchange_strong(note, 0);
  });
}

void Attendance::free() {
  for (Owned<Block>& block : blocks) Heap::free_from(block);
}

}  // namespace kin::detail
