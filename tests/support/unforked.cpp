// SPDX-License-Identifier: BSL-1.0

#include "unforked.hpp"

#include <cerrno>
#include <system_error>

#include <sys/mman.h>

namespace crash {

namespace {

/// Whole pages, shared with children, so that a fork leaves them out of its copy.
class SharedPages : public std::pmr::memory_resource {
  void* do_allocate(std::size_t bytes, std::size_t /*alignment*/) override {
    void* place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "mmap of unforked memory");
    }
    return place;
  }
  void do_deallocate(void* place, std::size_t bytes, std::size_t /*alignment*/) override {
    munmap(place, bytes);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

}  // namespace

std::pmr::memory_resource& unforked_memory() {
  static SharedPages pages;
  static std::pmr::unsynchronized_pool_resource pool(
      {.max_blocks_per_chunk = 0, .largest_required_pool_block = std::size_t{1} << 20}, &pages);
  return pool;
}

}  // namespace crash
