// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace word_count {

/// Words and how often each occurs, packed for a message. A map travels as well as it is; with half a
/// million words two arrays take a third of the time.
struct WordList {
  std::string words;  ///< each with a newline behind it
  std::vector<std::uint64_t> times;
};

/// How often each word occurs.
class WordCounts {
 public:
  void add(std::string_view word, std::uint64_t times = 1) {
    const auto found = counts_.find(word);
    if (found != counts_.end()) {
      found->second += times;
    } else {
      counts_.emplace(word, times);
    }
  }
  void add(const WordList& list);
  [[nodiscard]] WordList list() const;

  [[nodiscard]] std::size_t size() const { return counts_.size(); }
  [[nodiscard]] auto begin() const { return counts_.begin(); }
  [[nodiscard]] auto end() const { return counts_.end(); }
  friend bool operator==(const WordCounts&, const WordCounts&) = default;

 private:
  /// Transparent: a word is looked up where it stands in the file's text, without a copy.
  struct Hash {
    using is_transparent = void;
    using is_avalanching = void;
    std::size_t operator()(std::string_view word) const noexcept {
      return std::hash<std::string_view>{}(word);
    }
  };

  boost::unordered_flat_map<std::string, std::uint64_t, Hash, std::equal_to<>> counts_;
};

struct Unreadable {
  std::string path;
  std::string reason;
};

/// What some files amount to, beside their words.
struct Totals {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::uint64_t words = 0;
  std::vector<Unreadable> unreadable;

  void add(const Totals& other);
};

/// What was counted in some files.
struct Tally {
  Totals totals;
  WordCounts counts;
};

/// Reads files and counts their words.
class FileReader {
 public:
  /// `after_block` is called every 256 KiB or less. A file that can't be read is noted in the tally.
  void count(const std::string& path, Tally& tally, const std::function<void()>& after_block);

 private:
  void count_block(std::string_view block, Tally& tally);

  std::vector<char> block_ = std::vector<char>(std::size_t{256} * 1024);
  std::string open_word_;  // reached to the end of the block before
};

}  // namespace word_count
