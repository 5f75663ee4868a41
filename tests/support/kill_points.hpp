// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "crash_run.hpp"
#include "stepper.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace crash {

/// Tells which steps of a traced process lead to a kill point.
class KillPoints {
 public:
  /// The process stands at the first one.
  KillPoints(const Scenario& scenario, At at, const Stepper& victim);

  /// After each step: whether the process stands at the next one.
  bool passed(const Stepper& victim) { return is_interesting(victim) && !is_inside_bulk(victim); }

 private:
  struct Watched {
    std::span<const std::byte> range;
    std::vector<std::byte> copy;
  };

  At at_;
  std::size_t bulk_;
  std::vector<Watched> watched_;
  Stepper::Glance glance_;
  std::uintptr_t place_ = 0;
  std::size_t repeated_ = 0;

  bool is_interesting(const Stepper& victim);
  bool is_inside_bulk(const Stepper& victim);
};

}  // namespace crash
