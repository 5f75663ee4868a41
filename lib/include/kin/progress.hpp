// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace kin {

/// How far a map has come.
struct Progress {
  std::size_t done = 0;    // items, failed ones included
  std::size_t total = 0;   // items
  std::size_t failed = 0;  // items of chunks that failed
  std::chrono::nanoseconds elapsed{0};
  /// How long it goes on, if it goes on as it did.
  std::chrono::nanoseconds left{0};
};

/// How a ProgressBar differs from the usual.
struct ProgressBarOptions {
  /// Where it draws: a descriptor that stays open. stderr if not given.
  int fd = 2;
  /// Whether it draws; if not given, where that is a terminal.
  std::optional<bool> draws = std::nullopt;
};

/// A line on a terminal that shows how far something is.
///
///     kin::ProgressBar bar("counting");
///     pool.map({.progress = bar.observer()}, count, files);
///
///     counting  [#########...........]  45%  450 of 1000  0:12 left
///
/// It is drawn anew at most ten times a second, and once more when all is done; then it says how long it
/// took. Where nothing is to be drawn all does nothing, but that say() prints its line.
///
/// Lifetime: its destructor ends the line, so that what is printed next begins below. What observer()
/// returned may live longer.
/// Sharing: thread-safe.
/// After fork: the child's copy draws nothing.
class KIN_EXPORT ProgressBar {
  class Line;

 public:
  /// What a map tells.
  class KIN_EXPORT Observer {
   public:
    void operator()(const Progress& now) const;

   private:
    friend class ProgressBar;
    explicit Observer(std::shared_ptr<Line> line) noexcept;
    std::shared_ptr<Line> line_;
  };

  explicit ProgressBar(std::string what = {}, ProgressBarOptions options = {});
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  [[nodiscard]] Observer observer() const;
  /// What the observer does. A total of 0 means that nobody knows it yet. With a text, that one stands
  /// where "450 of 1000" would.
  void show(const Progress& now, std::string_view text = {}) const;
  /// Leaves the line empty.
  void clear() const;
  /// Prints a line in the bar's place, which is drawn again below.
  void say(std::string_view text) const;

 private:
  std::shared_ptr<Line> line_;
};

/// How long things took: of all of them, that many were shorter.
struct Quantiles {
  std::uint64_t count = 0;  // how many were measured
  std::chrono::nanoseconds half{0};
  std::chrono::nanoseconds nine_of_ten{0};
  std::chrono::nanoseconds longest{0};
};

/// What one worker of a pool has done.
struct WorkerStatistics {
  pid_t pid = 0;               // 0: nobody is in this place at the moment
  std::uint64_t tasks = 0;     // that returned
  std::uint64_t failed = 0;    // that threw
  std::uint32_t restarts = 0;  // how often a new worker took this place
  Quantiles waiting;           // from submission to start
  Quantiles running;
};

/// What a pool has done. Times are within a factor of two; of the first 1024 tasks all are measured,
/// after that one of 16.
struct PoolStatistics {
  std::vector<WorkerStatistics> workers;
};

}  // namespace kin
