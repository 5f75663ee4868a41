// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "unforked.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>

namespace crash {

/// The way that an operation went, once, from its beginning to its end: where it stood after each step,
/// and which of the steps led to a kill point.
///
/// An operation that goes the same way again need not be stepped to a kill point: it runs at full speed
/// to a place nearby, and takes the last steps singly.
class Trail {
 public:
  /// How to come to a kill point.
  struct Shortcut {
    std::uintptr_t place = 0;  ///< run to the instruction there,
    std::size_t times = 0;     ///< so often (0: not at all),
    std::size_t steps = 0;     ///< and step so often
  };

  void begin_at(std::uintptr_t place);
  void step_to(std::uintptr_t place, bool is_kill_point);

  bool has(std::size_t kill_point) const { return kill_point < points_.size(); }
  Shortcut shortcut_to(std::size_t kill_point) const;
  std::size_t steps_to(std::size_t kill_point) const { return points_[kill_point]; }

  bool operator==(const Trail& other) const { return places_ == other.places_; }

 private:
  using Visits =
      std::unordered_map<std::uintptr_t, std::uint32_t, std::hash<std::uintptr_t>, std::equal_to<>,
                         UnforkedAllocator<std::pair<const std::uintptr_t, std::uint32_t>>>;

  UnforkedVector<std::uintptr_t> places_;  // by steps
  UnforkedVector<std::uint32_t> visits_;   // how often it stood there, up to this step
  UnforkedVector<std::size_t> points_;     // their steps
  Visits visits_of_;

  bool is_landmark(std::size_t step) const;
};

}  // namespace crash
