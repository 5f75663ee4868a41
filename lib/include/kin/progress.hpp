// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
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
