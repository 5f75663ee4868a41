// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "rounds.hpp"

#include <atomic>

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

}  // namespace bench
