// SPDX-License-Identifier: BSL-1.0
//
// The result, for people and for programs.

#include "word_count/report.hpp"

#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <string_view>
#include <utility>
#include <vector>

namespace word_count {
namespace {

using Counted = std::pair<std::string_view, std::uint64_t>;

/// The most frequent first; those of the same count in the order of their bytes.
std::vector<Counted> most_frequent(const WordCounts& counts) {
  constexpr std::size_t most = 20;
  std::vector<Counted> all(counts.begin(), counts.end());
  const std::size_t length = std::min(most, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length), all.end(),
                    [](const Counted& left, const Counted& right) {
                      if (left.second != right.second) return left.second > right.second;
                      return left.first < right.first;
                    });
  all.resize(length);
  return all;
}

}  // namespace

void print_report(std::ostream& out, const Result& result, double seconds, int counters) {
  const Tally& tally = result.tally;
  const auto line = [&out](std::string_view name, std::uint64_t number) {
    out << std::setw(14) << with_commas(number) << "  " << name << '\n';
  };
  line("files", tally.totals.files);
  line("bytes", tally.totals.bytes);
  line("words", tally.totals.words);
  line("distinct words", tally.counts.size());
  if (!tally.totals.unreadable.empty()) line("unreadable", tally.totals.unreadable.size());
  if (result.restarts != 0) line("counters that died and were replaced", result.restarts);

  const auto top = most_frequent(tally.counts);
  if (!top.empty()) out << "\nThe most frequent:\n";
  for (const auto& [word, times] : top) {
    // a word may be as long as a file
    constexpr std::size_t longest = 60;
    out << std::setw(14) << with_commas(times) << "  " << word.substr(0, longest)
        << (word.size() > longest ? "..." : "") << '\n';
  }
  const double speed = seconds > 0 ? static_cast<double>(tally.totals.bytes) / seconds : 0;
  out << '\n'
      << fixed(seconds, 2) << " s with " << number_of_counters(counters) << ", "
      << megabytes_per_second(speed) << '\n';
}

void print_json(std::ostream& out, const Tally& tally) {
  out << "{\"files\":" << tally.totals.files << ",\"bytes\":" << tally.totals.bytes
      << ",\"words\":" << tally.totals.words << ",\"distinct\":" << tally.counts.size()
      << ",\"unreadable\":" << tally.totals.unreadable.size() << ",\"top\":[";
  const char* separator = "";
  for (const auto& [word, times] : most_frequent(tally.counts)) {
    out << separator << "[\"" << word << "\"," << times << ']';
    separator = ",";
  }
  out << "]}\n";
}

std::string number_of_counters(int number) {
  return std::to_string(number) + (number == 1 ? " counter" : " counters");
}

std::string with_commas(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string megabytes(std::uint64_t bytes) {
  return fixed(static_cast<double>(bytes) / 1e6, 1) + " MB";
}

std::string megabytes_per_second(double bytes_per_second) {
  return fixed(bytes_per_second / 1e6, bytes_per_second < 1e8 ? 1 : 0) + " MB/s";
}

std::string fixed(double number, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, number);
  return text;
}

std::string shown(const std::string& path) {
  std::string text = "'";
  for (const char c : path) {
    if (const auto code = static_cast<unsigned char>(c); code < ' ' || code == 127) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", code);
      text += escape;
    } else {
      text += c;
    }
  }
  return text + "'";
}

}  // namespace word_count
