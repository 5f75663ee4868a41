// SPDX-License-Identifier: BSL-1.0
//
// What lists are in the server, where that does not depend on the types of their elements.

#include <kin/detail/list_store.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

namespace kin::detail {

SlicePlaces::SlicePlaces(const managed::Slice& slice, std::size_t size)
    : first(0), step(slice.step), count(0) {
  if (step == 0) throw std::invalid_argument("kin: a slice has no step of 0");
  // As far as a step goes at most; so that it can be negated.
  const auto length = static_cast<std::ptrdiff_t>(size);
  step = std::clamp(step, -length - 1, length + 1);
  const std::ptrdiff_t lowest = step < 0 ? -1 : 0;
  const std::ptrdiff_t highest = step < 0 ? length - 1 : length;
  const auto bound = [&](std::optional<std::ptrdiff_t> given, std::ptrdiff_t otherwise) {
    if (!given) return otherwise;
    return std::clamp(*given < 0 ? *given + length : *given, lowest, highest);
  };
  first = bound(slice.first, step < 0 ? highest : lowest);
  const std::ptrdiff_t last = bound(slice.last, step < 0 ? lowest : highest);
  const std::ptrdiff_t distance = step < 0 ? first - last : last - first;
  if (distance > 0) count = (distance - 1) / (step < 0 ? -step : step) + 1;
}

void complain_slice(std::ptrdiff_t given, std::ptrdiff_t there) {
  throw std::invalid_argument("kin: the slice has " + std::to_string(there) + " elements, and " +
                              std::to_string(given) + " were given");
}

}  // namespace kin::detail
