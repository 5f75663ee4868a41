// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "word_count/tally.hpp"

#include <cstdint>
#include <ostream>
#include <string>

namespace word_count {

struct Result {
  Tally tally;
  std::uint64_t restarts = 0;  ///< how often a worker took the place of one that died
};

void print_report(std::ostream& out, const Result& result, double seconds, int counters);
void print_json(std::ostream& out, const Tally& tally);

[[nodiscard]] std::string number_of_counters(int number);
[[nodiscard]] std::string with_commas(std::uint64_t number);
[[nodiscard]] std::string megabytes(std::uint64_t bytes);
[[nodiscard]] std::string megabytes_per_second(double bytes_per_second);
[[nodiscard]] std::string fixed(double number, int digits);
/// A file's name in quotes, with what would confuse a terminal or a reader written as \xNN.
[[nodiscard]] std::string shown(const std::string& path);

}  // namespace word_count
