// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "word_count/tally.hpp"
#include "word_count/walk.hpp"

#include <kin/queue.hpp>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <sys/types.h>

/// What the child processes do, and what they tell their parent.
namespace word_count {

struct Batch {
  std::uint64_t number = 0;
  std::vector<File> files;
};

struct WalkEnded {
  std::vector<Unreadable> unreadable;
};

/// What a counter has done and not delivered yet; for the progress bar only.
struct Progress {
  pid_t counter = 0;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

struct Delivery {
  pid_t counter = 0;
  std::vector<std::uint64_t> batches;  ///< these are counted now
  Totals totals;
  WordList words;
};

/// From the one process of --check.
struct CountedAlone {
  Totals totals;
  WordList words;
  double seconds = 0;
};

using News = std::variant<Batch, WalkEnded, Progress, Delivery, CountedAlone>;

/// Finds the files and puts them on both queues: on `news` for the parent's books.
void walk(const std::string& directory, const kin::Queue<Batch>& paths,
          const kin::Queue<News>& news);

/// Takes batches until their queue is shut down and empty; delivers each time that `deliver_after`
/// bytes are counted.
void count(const kin::Queue<Batch>& paths, const kin::Queue<News>& news,
           std::uint64_t deliver_after);

/// All of it in one process.
void count_alone(const std::string& directory, const kin::Queue<News>& news);

}  // namespace word_count
