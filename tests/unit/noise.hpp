// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace unit {

inline constexpr std::size_t KiB = 1024;
inline constexpr std::size_t MiB = 1024 * KiB;

using Bytes = std::vector<std::byte>;

/// Bytes of which none tells the next; the same ones each time.
inline Bytes noise(std::size_t size, std::uint32_t state = 1) {
  Bytes bytes(size);
  for (auto& one : bytes) {
    one = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  }
  return bytes;
}

}  // namespace unit
