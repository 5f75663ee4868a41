// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "ping_pong.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// What two processes hand each other, beside a peer (the bare ping-pong) right before and right after it: a
/// virtual machine's processors are near each other now, far apart then, and a figure of one time says nothing of
/// the other. Turns between which that changed don't count. Its figure is the turn of the middle ratio.
class HandOver {
 public:
  struct Turn {
    double ratio = 0;
    double measured = 0;  // nanoseconds a round trip
    double bare = 0;      // the same of the peer
  };

  /// Either is given how many trips to make, and tells how many nanoseconds one took.
  HandOver(std::string figure, std::function<double(int)> round,
           std::function<double(int)> peer = ping_pong)
      : figure_(std::move(figure)), round_(std::move(round)), peer_(std::move(peer)) {}

  void take_turn(int trips) {
    const double before = peer_(trips);
    const double time = round_(trips);
    const double after = peer_(trips);
    if (std::max(before, after) > 1.25 * std::min(before, after)) return;
    const double bare = (before + after) / 2;
    turns_.push_back({.ratio = time / bare, .measured = time, .bare = bare});
  }
  [[nodiscard]] const std::string& figure() const noexcept { return figure_; }
  /// All zero where the machine was never steady.
  [[nodiscard]] Turn middle() const {
    if (turns_.empty()) return {};
    std::vector<Turn> turns = turns_;
    const auto at = turns.begin() + static_cast<std::ptrdiff_t>(turns.size() / 2);
    std::ranges::nth_element(turns, at, {}, &Turn::ratio);
    return *at;
  }

 private:
  std::string figure_;
  std::function<double(int)> round_;
  std::function<double(int)> peer_;
  std::vector<Turn> turns_;
};

}  // namespace bench
