// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/arena.hpp"
#include "waiting/robust_lock.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kin::detail {

/// A place in shared memory that owns one block of the heap, or nothing. All zero is nothing.
///
/// The heap itself fills and clears it, under its lock, so that no death between the two leaves a
/// block without an owner or an owner without its block.
class Place {
 public:
  [[nodiscard]] std::byte* address() const noexcept { return block_.load(); }
  [[nodiscard]] explicit operator bool() const noexcept { return address() != nullptr; }

  /// Names a block that the heap filled into another place. Of several places that name one block only
  /// one owns it at a time; which, and what survivors of a death do, says who calls this.
  void name(void* block) noexcept { block_.store(static_cast<std::byte*>(block)); }

 private:
  friend class Heap;
  std::atomic<std::byte*> block_;
};

/// A Place whose block begins with a T.
template <typename T>
class Owned : public Place {
 public:
  [[nodiscard]] T* get() const noexcept { return reinterpret_cast<T*>(address()); }
  T* operator->() const noexcept { return get(); }
  T& operator*() const noexcept { return *get(); }
};

/// What memory is for. Blocks that hold objects come from chunks of their own kind, which never hold
/// anything else: the kernel may write to the lock word of a thread that is ending, and who knows an
/// object by its address only, as the claims of a dead process do, asks its cells.
enum class BlockKind : std::uint8_t { plain, channel, lock, pool, manager };

/// What the holder of a heap lock is about to do to which block and place. Written before, cleared
/// after; who finds it on a lock of the dead completes it or takes it back.
struct Intent {
  enum class Action : std::uint64_t { none = 0, allocate = 1, free = 2 };
  std::atomic<std::uint64_t> block_and_action;
  std::atomic<Place*> place;
};

/// The cells of one size: chunks cut into cells, each chunk with a bitmap of those in use.
struct CellClass {
  RobustLock lock;
  Intent intent;
  std::atomic<std::uint32_t> first_with_room;  // a hint: no chunk before it has a free cell
  std::atomic<std::uint32_t> spare;            // a hint: 1 + an empty chunk that is kept
};

/// The heap's part of the arena's front.
struct HeapState {
  static constexpr std::size_t cell_sizes = 21;
  static constexpr std::size_t classes = cell_sizes + 4;  // and one for each kind of objects

  std::array<CellClass, classes> cells;
  RobustLock run_lock;  // guards the chunk words; taken inside a cell class's lock, never outside
  Intent run_intent;
  std::atomic<std::uint32_t> first_free;  // a hint: no free chunk before it
  std::atomic<std::uint32_t> high_water;  // chunks from here on were never used
  std::uint32_t chunk_count;

  // Behind this structure, a word for each chunk. 0: free, or inside a run that began before. Else a
  // run begins here: {1 + class of its cells, or 0 : 32, length in chunks : 32}. One store makes or
  // ends a run.
  [[nodiscard]] std::atomic<std::uint64_t>& word(std::size_t chunk) noexcept {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(this + 1)[chunk];
  }
  static std::size_t size_for(std::size_t chunks) noexcept {
    return sizeof(HeapState) + chunks * sizeof(std::uint64_t);
  }
  void initialize(std::size_t chunks) noexcept;
};

/// Memory for what processes share.
///
/// Blocks of up to 16 KiB are cells of a chunk; larger ones are runs of chunks. Everything is
/// derived from one word a chunk and one bit a cell, and each change is one store of these, told
/// beforehand by an Intent: so a death at any instruction is repaired by the next user of that lock.
/// Sharing: process-safe and thread-safe. Errors: std::bad_alloc when the arena is full or the
/// machine has no memory; nothing else is harmed then.
class Heap {
 public:
  /// What a block of these kinds has room for.
  static constexpr std::uint32_t channel_size = 768;
  static constexpr std::uint32_t lock_size = 256;
  static constexpr std::uint32_t pool_size = 1152;
  static constexpr std::uint32_t manager_size = 8704;
  /// What of a run is zeroed: who finds a place filled by one that was killed may read that much.
  static constexpr std::size_t front_of_run = 128;

  /// Fills `place` with a block of at least `size` bytes, aligned to 32, and returns its address. A
  /// place that is filled already is left as it is. Cells are zeroed; of runs (above 16 KiB) only the
  /// front is, before the place names it, and the other pages are had only when populate() asks for them.
  static std::byte* allocate_into(Place& place, std::size_t size,
                                  BlockKind kind = BlockKind::plain);
  /// Gives the block back and clears `place`; nothing to do when it is clear.
  static void free_from(Place& place);

  /// Frees a chain of blocks, from its end, so that a death in the middle leaves a shorter chain.
  template <typename Block>
  static void free_chain(Owned<Block>& first) {
    while (first) {
      Owned<Block>* last = &first;
      while ((*last)->next) last = &(*last)->next;
      free_from(*last);
    }
  }

  /// True for blocks whose pages the user has to populate.
  static constexpr bool is_run(std::size_t size) noexcept { return size > largest_cell; }

  /// Bytes of the run that the place owns; 0 for a cell, and for nothing.
  static std::size_t run_size(const Place& place) noexcept;
  /// Bytes that the block has room for; 0 for nothing.
  static std::size_t room_in(const Place& place) noexcept;

  /// Repairs what dead holders of the heap's locks left, all at once.
  static void recover();

  struct Statistics {
    std::size_t chunks = 0;      // in use, of 64 KiB
    std::size_t cells = 0;       // in use
    std::size_t cell_bytes = 0;  // in these
  };
  static Statistics statistics();

 private:
  static constexpr std::size_t largest_cell = 16512;

  static std::byte* allocate_cell(Place& place, std::size_t of_class);
  static std::byte* allocate_run(Place& place, std::size_t size);
  static void free_cell(Place& place, std::size_t of_class);
  static void free_run(Place& place, std::size_t chunk);
  static void recover_cells(std::size_t of_class);
  static void recover_runs();
};

}  // namespace kin::detail
