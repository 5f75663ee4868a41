// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

/// Asks for a cache line that will be written soon. Without -mprfchw the compiler's own builtin asks for it to be
/// read, which is of no use where another processor has it; a processor that does not know this one does nothing.
inline void prefetch_to_write(const void* place) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(place)));
#else
  __builtin_prefetch(place, 1);
#endif
}

}  // namespace kin::detail
