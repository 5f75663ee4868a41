// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdlib>

#include <sys/resource.h>

namespace unit {

/// A list of all the memory that malloc had to give.
struct Hoard {
  Hoard* next;
};

/// From now on each operator new of this process fails. For children; not under a sanitizer.
inline Hoard* use_up_memory() {
  const rlimit no_more{0, RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &no_more);
  Hoard* all = nullptr;
  for (std::size_t size = std::size_t{1} << 20; size >= sizeof(Hoard); size /= 2) {
    while (auto* block = static_cast<Hoard*>(std::malloc(size))) {
      block->next = all;
      all = block;
    }
  }
  return all;
}

inline void give_back(Hoard* all) {
  while (all != nullptr) {
    Hoard* next = all->next;
    std::free(all);
    all = next;
  }
}

}  // namespace unit
