// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/heap.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kin::detail {

struct Region;

/// What stands before each piece of a region's memory.
struct RegionBlock {
  std::atomic<RegionBlock*> next;
  std::atomic<RegionBlock*> previous;
  Region* region;
  std::uint64_t unused;

  [[nodiscard]] std::byte* memory() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  static RegionBlock& of(void* memory) noexcept { return static_cast<RegionBlock*>(memory)[-1]; }
};
static_assert(sizeof(RegionBlock) == 32);  // as the heap aligns, so that what is behind it is, too

/// The memory of one shared object: a chain of blocks of the heap, that ends as a whole. So nobody has to
/// walk through containers that a death has left half changed, and no destructor has to be run.
///
/// Writers: the holder of the object's lock. All zero is empty.
struct Region {
  std::atomic<RegionBlock*> first;
  Owned<RegionBlock> entering;  // a block before it is in the chain
  Owned<RegionBlock> leaving;   // one that is taken out of it
  std::atomic<std::byte*> root;

  /// Aligned to 32. Throws std::bad_alloc.
  std::byte* allocate(std::size_t size);
  void free(RegionBlock& block);
  /// Frees all of it.
  void clear();
  /// Ends what a dead holder of the lock had begun, with the heap recovered before. May be killed, and
  /// called again.
  void settle();
};

}  // namespace kin::detail
