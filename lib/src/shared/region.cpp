// SPDX-License-Identifier: BSL-1.0
//
// The memory of a shared object. The chain is changed with the object's lock held, so there is one step at a
// time to be recovered: `entering` and `leaving` say which.

#include "shared/region.hpp"

#include <cstdint>
#include <new>

namespace kin::detail {

std::byte* Region::allocate(std::size_t size) {
  if (size > PTRDIFF_MAX - sizeof(RegionBlock)) throw std::bad_alloc();
  const std::size_t whole = sizeof(RegionBlock) + size;
  std::byte* begin = Heap::allocate_into(entering, whole);
  // If killed from here on: settle() frees it, or leaves it in the chain.
  if (Heap::is_run(whole)) {
    try {
      populate(begin, whole);
    } catch (...) {
      Heap::free_from(entering);
      throw;
    }
  }
  RegionBlock& block = *entering;
  block.region = this;
  block.next.store(first.load());
  first.store(&block);
  settle();
  return block.memory();
}

void Region::free(RegionBlock& block) {
  leaving.name(&block);
  // If killed from here on: settle() goes on.
  settle();
}

void Region::clear() {
  while (RegionBlock* block = first.load()) free(*block);
}

void Region::settle() {
  if (RegionBlock* block = entering.get(); block != nullptr) {
    if (first.load() == block) {
      if (RegionBlock* next = block->next.load(); next != nullptr) next->previous.store(block);
      entering.name(nullptr);
    } else {
      Heap::free_from(entering);
    }
  }
  if (RegionBlock* block = leaving.get(); block != nullptr) {
    // The block's own links stay as they are, so this may be done again.
    RegionBlock* next = block->next.load();
    RegionBlock* previous = block->previous.load();
    (previous != nullptr ? previous->next : first).store(next);
    if (next != nullptr) next->previous.store(previous);
    Heap::free_from(leaving);
  }
}

}  // namespace kin::detail
