// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <memory_resource>
#include <vector>

namespace crash {

/// Memory for what only the test process needs. fork() copies the page tables of private memory, each page
/// that is in use, and makes children of a process with a hundred megabytes slow; of memory like this it copies
/// none. A child must not change it: it is the parent's.
std::pmr::memory_resource& unforked_memory();

/// Has its memory there.
template <typename T>
class UnforkedAllocator {
 public:
  using value_type = T;

  UnforkedAllocator() noexcept = default;
  template <typename U>
  explicit(false) UnforkedAllocator(const UnforkedAllocator<U>& /*other*/) noexcept {}

  T* allocate(std::size_t count) {
    return static_cast<T*>(unforked_memory().allocate(count * sizeof(T), alignof(T)));
  }
  void deallocate(T* place, std::size_t count) noexcept {
    unforked_memory().deallocate(place, count * sizeof(T), alignof(T));
  }
  template <typename U>
  bool operator==(const UnforkedAllocator<U>& /*other*/) const noexcept {
    return true;
  }
};

template <typename T>
using UnforkedVector = std::vector<T, UnforkedAllocator<T>>;

}  // namespace crash
