// SPDX-License-Identifier: BSL-1.0
//
// The heap in shared memory.
//
// Why not Boost.Interprocess's managed buffer: an allocator of trees and lists that is killed
// half-way can't be repaired, only retired with all that it holds. Here the truth is so plain that
// every step is one store (a bit for a cell, a word for a run of chunks), and all else is a hint or is
// counted again. An Intent makes the pair {bit, owner's place} one step for the survivors.

#include "memory/heap.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <mutex>
#include <new>

namespace kin::detail {
namespace {

// A third more or so from one to the next; the odd 64 in some is for a ring of a power of two
// behind its header.
constexpr std::array<std::uint32_t, HeapState::cell_sizes> plain_sizes = {
    32,  64,   96,   128,  160,  192,  256,  320,  384,   512,  640,
    768, 1152, 1536, 2176, 3072, 4224, 6144, 8320, 12288, 16512};

// Behind these, a class for each kind of objects, in the order of BlockKind.
constexpr std::array<std::uint32_t, HeapState::classes - HeapState::cell_sizes> object_sizes = {
    Heap::channel_size, Heap::lock_size, Heap::pool_size, Heap::manager_size};

constexpr std::uint32_t size_of_class(std::size_t of_class) {
  return of_class < plain_sizes.size() ? plain_sizes[of_class]
                                       : object_sizes[of_class - plain_sizes.size()];
}

// Objects may not become anything else, so their chunks stay theirs for ever.
constexpr bool holds_objects(std::size_t of_class) { return of_class >= plain_sizes.size(); }

std::size_t class_for(std::size_t size, BlockKind kind) {
  if (kind != BlockKind::plain) return plain_sizes.size() + static_cast<std::size_t>(kind) - 1;
  const auto* found = std::lower_bound(plain_sizes.begin(), plain_sizes.end(), size);
  return static_cast<std::size_t>(found - plain_sizes.begin());
}

constexpr std::size_t header_size = 320;

// The front of a chunk of cells.
struct CellChunk {
  std::atomic<std::uint32_t> used;  // counted again when a holder of the lock has died
  std::array<std::atomic<std::uint64_t>, 32> bitmap;

  static std::size_t capacity(std::size_t of_class) {
    return std::min<std::size_t>((chunk_size - header_size) / size_of_class(of_class),
                                 std::size_t{32} * 64);
  }
  std::byte* cell(std::size_t index, std::size_t of_class) {
    return reinterpret_cast<std::byte*>(this) + header_size + index * size_of_class(of_class);
  }
  std::size_t index_of(const std::byte* block, std::size_t of_class) {
    const auto offset = static_cast<std::size_t>(block - reinterpret_cast<std::byte*>(this));
    return (offset - header_size) / size_of_class(of_class);
  }
  void set(std::size_t index, bool in_use) {
    auto& word = bitmap[index / 64];
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    // Relaxed here and below: the lock of the class orders it.
    const std::uint64_t before = word.load(std::memory_order_relaxed);
    word.store(in_use ? before | bit : before & ~bit, std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t first_free() const {
    std::size_t at = 0;
    while (~bitmap[at].load(std::memory_order_relaxed) == 0) ++at;
    return at * 64 +
           static_cast<std::size_t>(std::countr_one(bitmap[at].load(std::memory_order_relaxed)));
  }
  [[nodiscard]] std::uint32_t count() const {
    int bits = 0;
    for (const auto& word : bitmap) bits += std::popcount(word.load(std::memory_order_relaxed));
    return static_cast<std::uint32_t>(bits);
  }
};
static_assert(sizeof(CellChunk) <= header_size);

std::uint64_t run_word(std::uint32_t chunks) { return chunks; }
std::uint64_t cells_word(std::size_t of_class) {
  return (static_cast<std::uint64_t>(of_class + 1) << 32) | 1;
}
std::uint32_t length_of(std::uint64_t word) { return static_cast<std::uint32_t>(word); }

HeapState& state() { return *arena().heap; }

CellChunk* cell_chunk(std::size_t chunk) {
  return reinterpret_cast<CellChunk*>(arena().chunks + chunk * chunk_size);
}

std::size_t chunk_of(const std::byte* block) {
  return static_cast<std::size_t>(block - arena().chunks) / chunk_size;
}

void announce(Intent& intent, Intent::Action action, std::byte* block, Place& place) {
  intent.place.store(&place, std::memory_order_relaxed);
  // SYNC intent: what a survivor sees of the steps that follow, it sees with the intent before them.
  intent.block_and_action.store(reinterpret_cast<std::uint64_t>(block) |
                                static_cast<std::uint64_t>(action));
}

void done(Intent& intent) { intent.block_and_action.store(0); }

// A run of `count` chunks, for which `word` is written once there is room. Called with the run lock.
template <typename Announce>
std::size_t take_run(std::uint32_t count, std::uint64_t word, Announce&& announce_run) {
  HeapState& heap = state();
  const std::uint32_t high_water = heap.high_water.load();
  std::uint32_t at = heap.first_free.load();
  std::uint32_t free_here = 0;
  std::uint32_t first_seen = heap.chunk_count;
  while (at < high_water && free_here < count) {
    const std::uint64_t here = heap.word(at).load();
    if (here == 0) {
      first_seen = std::min(first_seen, at);
      ++free_here;
      ++at;
    } else {
      free_here = 0;
      at += length_of(here);
    }
  }
  const std::uint32_t begin = at - free_here;
  if (heap.chunk_count - begin < count) throw std::bad_alloc();
  announce_run(begin);
  heap.high_water.store(std::max(high_water, begin + count));
  // If killed before the next store: the run was never taken.
  heap.word(begin).store(word);
  if (begin <= first_seen) heap.first_free.store(begin + count);
  return begin;
}

void end_run(std::size_t chunk) {
  HeapState& heap = state();
  heap.word(chunk).store(0);
  if (chunk < heap.first_free.load()) heap.first_free.store(static_cast<std::uint32_t>(chunk));
}

}  // namespace

void HeapState::initialize(std::size_t chunks) noexcept {
  chunk_count = static_cast<std::uint32_t>(chunks);
  run_lock.initialize();
  for (auto& one : cells) one.lock.initialize();
}

std::byte* Heap::allocate_into(Place& place, std::size_t size, BlockKind kind) {
  if (kind == BlockKind::plain && is_run(size)) return allocate_run(place, size);
  return allocate_cell(place, class_for(size, kind));
}

std::size_t Heap::run_size(const Place& place) noexcept {
  if (!place) return 0;
  const std::uint64_t word = state().word(chunk_of(place.address())).load();
  return (word >> 32) == 0 ? length_of(word) * chunk_size : 0;
}

std::size_t Heap::room_in(const Place& place) noexcept {
  if (!place) return 0;
  const std::uint64_t word = state().word(chunk_of(place.address())).load();
  const auto of_cell = static_cast<std::size_t>(word >> 32);
  return of_cell == 0 ? length_of(word) * chunk_size : size_of_class(of_cell - 1);
}

void Heap::free_from(Place& place) {
  const std::byte* block = place.address();
  if (block == nullptr) return;
  const std::size_t chunk = chunk_of(block);
  const std::uint64_t word = state().word(chunk).load();
  if ((word >> 32) != 0) {
    free_cell(place, static_cast<std::size_t>(word >> 32) - 1);
  } else {
    free_run(place, chunk);
  }
}

std::byte* Heap::allocate_cell(Place& place, std::size_t of_class) {
  HeapState& heap = state();
  CellClass& cells = heap.cells[of_class];
  const RobustGuard guard(cells.lock, [&] { recover_cells(of_class); });
  if (place) return place.address();
  const std::size_t capacity = CellChunk::capacity(of_class);
  const std::uint32_t high_water = heap.high_water.load();
  std::size_t at = cells.first_with_room.load();
  CellChunk* chunk = nullptr;
  while (at < high_water && chunk == nullptr) {
    const std::uint64_t word = heap.word(at).load();
    if (word == cells_word(of_class) && cell_chunk(at)->used.load() < capacity) {
      chunk = cell_chunk(at);
    } else {
      at += std::max<std::uint32_t>(length_of(word), 1);
    }
  }
  if (chunk == nullptr) {
    const RobustGuard runs(heap.run_lock, [] { recover_runs(); });
    at = take_run(1, cells_word(of_class), [](std::size_t index) {
      // What a chunk of cells begins with must be zero before it is one.
      populate(arena().chunks + index * chunk_size, chunk_size);
      std::memset(static_cast<void*>(cell_chunk(index)), 0, sizeof(CellChunk));
    });
    chunk = cell_chunk(at);
    // If killed here: a chunk of this class without cells in use, found by the next who looks.
  }
  // A death may have left an empty chunk whose pages were given back already.
  const bool is_spare = cells.spare.load() == at + 1;
  if (chunk->used.load() == 0 && !is_spare) populate(arena().chunks + at * chunk_size, chunk_size);
  cells.first_with_room.store(static_cast<std::uint32_t>(at));
  if (cells.spare.load() == at + 1) cells.spare.store(0);
  const std::size_t index = chunk->first_free();
  assert(index < capacity);
  std::byte* block = chunk->cell(index, of_class);
  announce(cells.intent, Intent::Action::allocate, block, place);
  // If killed from here to done(): recover_cells() sees whether the place got its block.
  chunk->set(index, true);
  chunk->used.fetch_add(1);
  std::memset(block, 0, size_of_class(of_class));
  place.block_.store(block);
  done(cells.intent);
  return block;
}

void Heap::free_cell(Place& place, std::size_t of_class) {
  HeapState& heap = state();
  CellClass& cells = heap.cells[of_class];
  const RobustGuard guard(cells.lock, [&] { recover_cells(of_class); });
  std::byte* block = place.address();
  if (block == nullptr) return;
  const std::size_t at = chunk_of(block);
  CellChunk* chunk = cell_chunk(at);
  announce(cells.intent, Intent::Action::free, block, place);
  // If killed from here to done(): recover_cells() completes it.
  place.block_.store(nullptr);
  chunk->set(chunk->index_of(block, of_class), false);
  const std::uint32_t left = chunk->used.fetch_sub(1) - 1;
  done(cells.intent);
  if (at < cells.first_with_room.load()) {
    cells.first_with_room.store(static_cast<std::uint32_t>(at));
  }
  if (left != 0 || holds_objects(of_class)) return;
  // One empty chunk is kept, so that a single block going back and forth costs no pages.
  const std::uint32_t spare = cells.spare.load();
  if (spare == 0 || spare == at + 1) {
    cells.spare.store(static_cast<std::uint32_t>(at) + 1);
    return;
  }
  const RobustGuard runs(heap.run_lock, [] { recover_runs(); });
  discard(arena().chunks + at * chunk_size, chunk_size);
  // If killed here: an empty chunk of this class, all zero, as good as new.
  end_run(at);
}

void Heap::recover_cells(std::size_t of_class) {
  HeapState& heap = state();
  CellClass& cells = heap.cells[of_class];
  const std::uint64_t intent = cells.intent.block_and_action.load();
  const auto action = static_cast<Intent::Action>(intent & 3);
  auto* block = reinterpret_cast<std::byte*>(intent & ~std::uint64_t{3});
  if (action != Intent::Action::none) {
    Place& place = *cells.intent.place.load();
    CellChunk* chunk = cell_chunk(chunk_of(block));
    const bool placed = place.address() == block;
    if (action == Intent::Action::free && placed) place.block_.store(nullptr);
    chunk->set(chunk->index_of(block, of_class), action == Intent::Action::allocate && placed);
  }
  for (std::size_t at = 0; at < heap.high_water.load();) {
    const std::uint64_t word = heap.word(at).load();
    if (word == cells_word(of_class)) cell_chunk(at)->used.store(cell_chunk(at)->count());
    at += std::max<std::uint32_t>(length_of(word), 1);
  }
  cells.first_with_room.store(0);
  done(cells.intent);
}

std::byte* Heap::allocate_run(Place& place, std::size_t size) {
  const std::size_t chunks = (size + chunk_size - 1) / chunk_size;
  HeapState& heap = state();
  if (chunks > heap.chunk_count) throw std::bad_alloc();
  const RobustGuard guard(heap.run_lock, [] { recover_runs(); });
  if (place) return place.address();
  const auto count = static_cast<std::uint32_t>(chunks);
  std::byte* block = nullptr;
  take_run(count, run_word(count), [&](std::size_t index) {
    block = arena().chunks + index * chunk_size;
    // Freed runs are discarded, but the kernel may refuse that, of locked memory for one.
    populate(block, front_of_run);
    std::memset(block, 0, front_of_run);
    announce(heap.run_intent, Intent::Action::allocate, block, place);
  });
  // If killed here: recover_runs() finds the place empty and ends the run.
  place.block_.store(block);
  done(heap.run_intent);
  return block;
}

void Heap::free_run(Place& place, std::size_t chunk) {
  HeapState& heap = state();
  // Before it is free, and outside the lock: afterwards the pages may be another's already.
  discard(place.address(), length_of(heap.word(chunk).load()) * chunk_size);
  const RobustGuard guard(heap.run_lock, [] { recover_runs(); });
  std::byte* block = place.address();
  if (block == nullptr) return;
  announce(heap.run_intent, Intent::Action::free, block, place);
  // If killed from here to done(): recover_runs() completes it.
  place.block_.store(nullptr);
  end_run(chunk);
  done(heap.run_intent);
}

void Heap::recover_runs() {
  HeapState& heap = state();
  const std::uint64_t intent = heap.run_intent.block_and_action.load();
  const auto action = static_cast<Intent::Action>(intent & 3);
  auto* block = reinterpret_cast<std::byte*>(intent & ~std::uint64_t{3});
  heap.first_free.store(0);
  if (action == Intent::Action::none) return;
  Place& place = *heap.run_intent.place.load();
  const bool placed = place.address() == block;
  if (action == Intent::Action::free && placed) place.block_.store(nullptr);
  if (action == Intent::Action::free || !placed) end_run(chunk_of(block));
  done(heap.run_intent);
}

void Heap::recover() {
  HeapState& heap = state();
  for (std::size_t of_class = 0; of_class < HeapState::classes; ++of_class) {
    CellClass& cells = heap.cells[of_class];
    if (cells.lock.is_at_rest()) continue;
    const RobustGuard guard(cells.lock, [&] { recover_cells(of_class); });
  }
  if (heap.run_lock.is_at_rest()) return;
  const RobustGuard guard(heap.run_lock, [] { recover_runs(); });
}

Heap::Statistics Heap::statistics() {
  HeapState& heap = state();
  Statistics sum;
  for (std::size_t at = 0; at < heap.high_water.load();) {
    const std::uint64_t word = heap.word(at).load();
    sum.chunks += length_of(word);
    if (const std::size_t of_class = word >> 32; of_class != 0) {
      const std::size_t used = cell_chunk(at)->used.load();
      sum.cells += used;
      sum.cell_bytes += used * size_of_class(of_class - 1);
    }
    at += std::max<std::uint32_t>(length_of(word), 1);
  }
  return sum;
}

}  // namespace kin::detail
