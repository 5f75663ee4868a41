// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/heap.hpp"
#include "memory/process_table.hpp"

#include <cstdint>

namespace support {

/// Sweeps every process of the family that is dead and reaped, as births do little by little: what these
/// had in the arena is free.
inline void sweep_the_dead() {
  const std::uint32_t used = kin::detail::arena().processes->slots_used.load();
  // It looks at eight slots at a time, and goes round.
  for (std::uint32_t looked = 0; looked < used + 8; looked += 8) kin::detail::sweep_some();
}

}  // namespace support
