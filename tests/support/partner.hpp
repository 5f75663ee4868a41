// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "bystander.hpp"
#include "shared_page.hpp"

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>

namespace crash {

/// Another process that gets in the way of the traced one, a turn after each few of its steps.
class Partner {
 public:
  /// With `every` 0 it takes its turns without waiting for steps.
  Partner(std::function<void()> turn, std::size_t every);

  /// After each step of the traced process.
  void step_passed();

  /// Tells it that this turn is its last.
  Bystander& retire();

  /// Those it has ended.
  std::size_t turns() const { return turns_->ended; }

 private:
  struct Turns {
    std::atomic<std::size_t> asked;
    std::atomic<std::size_t> ended;
    std::atomic<bool> enough;
  };

  std::function<void()> turn_;
  std::size_t every_;
  std::size_t steps_ = 0;
  SharedPage<Turns> turns_;
  Bystander process_;

  std::string take_turns() const;
};

}  // namespace crash
