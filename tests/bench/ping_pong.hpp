// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "rounds.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// The limit of the machine: two processes that do nothing else pass a word to and fro, one for each
/// direction on a cache line of its own, and wait by loading it, with a pause between. Nanoseconds a
/// round trip.
inline double ping_pong(int trips) {
  struct Lines {
    alignas(64) std::atomic<int> there;
    alignas(64) std::atomic<int> back;
  };
  const Shared<Lines> lines;
  const auto wait_for = [](const std::atomic<int>& word, int value) {
    while (word.load(std::memory_order_acquire) != value) pause();
  };
  return time_together(Placement::apart, {[&] {
                                            for (int i = 1; i <= trips; ++i) {
                                              lines->there.store(i, std::memory_order_release);
                                              wait_for(lines->back, i);
                                            }
                                          },
                                          [&] {
                                            for (int i = 1; i <= trips; ++i) {
                                              wait_for(lines->there, i);
                                              lines->back.store(i, std::memory_order_release);
                                            }
                                          }}) /
         trips;
}

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
