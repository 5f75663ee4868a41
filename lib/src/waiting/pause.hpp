// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

/// Tells the processor that this is a spin loop.
inline void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

}  // namespace kin::detail
