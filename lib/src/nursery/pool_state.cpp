// SPDX-License-Identifier: BSL-1.0
//
// A pool's shared memory: how it is made, freed, and how a task ends, whoever ends it.

#include "nursery/pool_state.hpp"

#include <kin/error.hpp>

#include <climits>
#include <cstring>

namespace kin::detail {
namespace {

// Under the sweep lock; again, if it was killed.
bool destroy_pool(Object& object) {
  auto& pool = static_cast<PoolState&>(object);
  for (std::size_t i = 0; i < pool.block_count.load(); ++i) {
    for (TaskSlot& slot : pool.slots(i)) {
      unload_cargo_while_destroying(slot.arguments_cargo);
      unload_cargo_while_destroying(slot.result_cargo);
      for (const Place* place : {&slot.arguments_block, &slot.result_block}) {
        for (Place& spare : pool.spares) {
          if (spare && spare.address() == place->address()) spare.name(nullptr);
        }
      }
      Heap::free_from(slot.arguments_block);
      Heap::free_from(slot.result_block);
    }
  }
  pool.block_count.store(0);
  for (Place& spare : pool.spares) Heap::free_from(spare);
  if (pool.blocks_block) {
    for (Place& block : pool.blocks()) Heap::free_from(block);
  }
  Heap::free_from(pool.blocks_block);
  Heap::free_from(pool.seats_block);
  return true;
}

// A block of whole pages, all zero.
std::byte* allocate_zeroed(Place& place, std::size_t size) {
  std::byte* block = Heap::allocate_into(place, size);
  if (!Heap::is_run(size)) return block;
  try {
    populate(block, size);
  } catch (...) {
    Heap::free_from(place);
    throw;
  }
  std::memset(block, 0, size);
  return block;
}

// Any process of the family may be the one that sweeps.
[[maybe_unused]] const bool has_destroyer = [] {
  set_destroyer(ObjectKind::pool, destroy_pool);
  return true;
}();

}  // namespace

static_assert(sizeof(PoolState) <= Heap::pool_size);

PoolMemory::PoolMemory(std::uint32_t seats) : tasks_claim(make_channel({})) {
  state_claim = make_object(ObjectKind::pool, sizeof(PoolState), [&](Object& object) {
    auto& pool = static_cast<PoolState&>(object);
    pool.seat_count = seats;
    allocate_zeroed(pool.seats_block, seats * sizeof(Seat));
    allocate_zeroed(pool.blocks_block, PoolState::most_blocks * sizeof(Place));
  });
}

std::span<TaskSlot> add_slots(PoolState& pool) {
  const std::uint32_t block = pool.block_count.load();
  if (block == PoolState::most_blocks) throw std::bad_alloc();
  allocate_zeroed(pool.blocks()[block], PoolState::size_of_block(block) * sizeof(TaskSlot));
  // If killed before this: the pool's end frees the block all the same.
  pool.block_count.store(block + 1);
  return pool.slots(block);
}

std::byte* take_block(PoolState& pool, Place& place, std::size_t size) {
  for (Place& spare : pool.spares) {
    if (!Heap::is_run(size) || !spare) continue;
    const std::size_t there = Heap::run_size(spare);
    if (there < size || there > 2 * size + chunk_size) continue;
    place.name(spare.address());
    // If killed here: the block is the slot's.
    spare.name(nullptr);
    return place.address();
  }
  std::byte* block = Heap::allocate_into(place, size);
  if (Heap::is_run(size)) populate(block, size);
  return block;
}

void give_back_block(PoolState& pool, Place& place) {
  constexpr std::size_t largest = std::size_t{1} << 20;
  const std::size_t size = Heap::run_size(place);
  if (size != 0 && size <= largest) {
    for (Place& spare : pool.spares) {
      if (spare) continue;
      spare.name(place.address());
      // If killed here: the block is the slot's.
      place.name(nullptr);
      return;
    }
  }
  Heap::free_from(place);
}

void put_hint(ByteChannel& channel, TaskHint hint) {
  NoLine line;
  put(channel, std::as_bytes(std::span(&hint, 1)), {}, line, Deadline::never());
}

void shut_down_hints(ByteChannel& channel) {
  NoLine line;
  shut_down(channel, line);
}

bool get_hint(ByteChannel& channel, FunctionRef<void(TaskHint)> take, Deadline deadline) {
  NoLine line;
  const auto read = [&](const Part& part) {
    TaskHint hint{};
    std::memcpy(&hint, part.bytes.data(), sizeof hint);
    take(hint);
  };
  return get(channel, read, nullptr, line, deadline);
}

bool end_task(PoolMemory& memory, TaskSlot& slot, TaskWord from, TaskState to) {
  std::uint64_t before = from.bits();
  if (!slot.word.compare_exchange_strong(before, from.with(to).bits())) return false;
  // If killed here: who sleeps looks again at the end of its slice; the nursery sees to the notice.
  if (from.has(TaskWord::awaited)) futex_wake(slot.sleepers_word(), INT_MAX);
  if (from.has(TaskWord::observed)) memory.state().notices.post(slot);
  return true;
}

bool end_task_if(PoolMemory& memory, TaskSlot& slot, std::uint32_t generation, TaskState to,
                 FunctionRef<bool(TaskWord)> may_end) {
  while (true) {
    const TaskWord now = slot.now();
    if (now.generation() != generation || now.is_over() || !may_end(now)) return false;
    if (end_task(memory, slot, now, to)) return true;
  }
}

void end_tasks_if(PoolMemory& memory, TaskState to, FunctionRef<bool(TaskWord)> may_end) {
  const PoolState& pool = memory.state();
  for (std::size_t block = 0; block < pool.block_count.load(); ++block) {
    for (TaskSlot& slot : pool.slots(block)) {
      end_task_if(memory, slot, slot.now().generation(), to, may_end);
    }
  }
}

}  // namespace kin::detail
