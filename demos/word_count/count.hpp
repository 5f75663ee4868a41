// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "word_count/tally.hpp"
#include "word_count/walk.hpp"

#include <kin/value.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// What the workers of a pool do.
namespace word_count {

struct Amount {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Files that one call counts.
struct Batch {
  std::size_t number = 0;
  std::vector<File> files = {};
};

/// What is in a batch.
struct Delivery {
  std::size_t number = 0;
  Totals totals;
  WordList words;
};

/// What one process counted by itself.
struct CountedAlone {
  Totals totals;
  WordList words;
  double seconds = 0;
};

/// Counts a batch. Adds to `done` as it goes, for the progress bar only: what is counted there is not
/// delivered yet, and never will be if the worker dies.
[[nodiscard]] Delivery count(const kin::Value<Amount>& done, const Batch& batch);

/// All of it in one process.
[[nodiscard]] CountedAlone count_alone(const kin::Value<Amount>& done,
                                       const std::string& directory);

}  // namespace word_count
