// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/syscall.hpp"

#include <cstddef>
#include <span>

#include <sys/random.h>

namespace kin::detail {

/// Fills it with bytes that nobody can guess. Throws SystemError.
inline void fill_randomly(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const auto count = checked(
        "getrandom", retry_interrupted([&] { return ::getrandom(bytes.data(), bytes.size(), 0); }));
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

}  // namespace kin::detail
