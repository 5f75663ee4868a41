// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace word_count {

struct Amount {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// One line at the bottom of a terminal. Where stderr is none it draws nothing.
class ProgressBar {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { clear(); }

  /// Time and speed are counted from here.
  void begin();
  /// Draws, ten times a second at most. The end is in sight when the walker has `found_all`.
  void show(Amount done, Amount total, bool found_all);
  /// Leaves the line empty.
  void clear();
  /// Prints a line on stderr in the bar's place, which is drawn again below.
  void say(std::string_view line);

 private:
  using Clock = std::chrono::steady_clock;

  bool on_terminal_;
  bool drawn_ = false;
  Clock::time_point begin_;
  Clock::time_point next_draw_;
};

}  // namespace word_count
