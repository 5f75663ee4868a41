// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "nursery/pool_state.hpp"

#include <cstdint>

namespace kin::detail {

[[nodiscard]] constexpr std::int64_t limit_nanoseconds(std::uint32_t milliseconds) noexcept {
  return std::int64_t{milliseconds} * 1'000'000;
}

/// When the next time limit of what runs in a seat passes; INT64_MAX if it has none.
[[nodiscard]] std::int64_t next_limit(const Seat& seat);

/// Asks a task that has run for longer than its soft limit to stop, and decides of one past its hard limit
/// that its worker is killed for it: that one and no other, whatever the worker does meanwhile. The
/// nursery's; `now` in nanoseconds.
void enforce_limits(Seat& seat, std::uint16_t number, std::int64_t now);

}  // namespace kin::detail
