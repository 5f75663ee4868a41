// SPDX-License-Identifier: BSL-1.0
//
// The counting loop. It knows nothing of processes: one or many run the same code.

#include "word_count/tally.hpp"

#include <kin/unique_fd.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace word_count {
namespace {

constexpr auto belongs_to_word = [] {
  std::array<bool, 256> table{};
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

bool is_word(char c) { return belongs_to_word[static_cast<unsigned char>(c)]; }

}  // namespace

void WordCounts::add(const WordList& list) {
  counts_.reserve(std::max(counts_.size(), list.times.size()));
  std::string_view words = list.words;
  for (const std::uint64_t times : list.times) {
    const std::size_t length = words.find('\n');
    add(words.substr(0, length), times);
    words.remove_prefix(length + 1);
  }
}

WordList WordCounts::list() const {
  WordList list;
  list.times.reserve(counts_.size());
  std::size_t length = 0;
  for (const auto& [word, times] : counts_) length += word.size() + 1;
  list.words.reserve(length);
  for (const auto& [word, times] : counts_) {
    list.words.append(word).push_back('\n');
    list.times.push_back(times);
  }
  return list;
}

void Totals::add(const Totals& other) {
  files += other.files;
  bytes += other.bytes;
  words += other.words;
  unreadable.insert(unreadable.end(), other.unreadable.begin(), other.unreadable.end());
}

void FileReader::count(const std::string& path, Tally& tally,
                       const std::function<void()>& after_block) {
  const auto give_up = [&](int error_number) {
    tally.totals.unreadable.push_back({path, std::generic_category().message(error_number)});
  };
  // The file was a plain one when the walker saw it. Should it be a pipe by now, opening it does not
  // wait for its other end; should it be a link, it is not followed.
  const kin::UniqueFd file(
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!file) return give_up(errno);
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return give_up(errno);
  if (!S_ISREG(about.st_mode)) return give_up(EINVAL);

  open_word_.clear();
  while (true) {
    const ssize_t length = ::read(file.get(), block_.data(), block_.size());
    if (length == -1 && errno == EINTR) continue;
    if (length <= 0) {
      count_block("\n", tally);  // ends the last word
      if (length == -1) return give_up(errno);
      ++tally.totals.files;
      return;
    }
    tally.totals.bytes += static_cast<std::uint64_t>(length);
    count_block({block_.data(), static_cast<std::size_t>(length)}, tally);
    after_block();
  }
}

void FileReader::count_block(std::string_view block, Tally& tally) {
  const char* at = block.data();
  const char* const end = at + block.size();
  const auto add = [&tally](std::string_view word) {
    ++tally.totals.words;
    tally.counts.add(word);
  };
  if (!open_word_.empty()) {
    const char* const word_end = std::find_if_not(at, end, is_word);
    open_word_.append(at, word_end);
    if (word_end == end) return;
    add(open_word_);
    open_word_.clear();
    at = word_end;
  }
  while (true) {
    while (at != end && !is_word(*at)) ++at;
    const char* const word = at;
    while (at != end && is_word(*at)) ++at;
    if (at == end) {
      open_word_.assign(word, end);
      return;
    }
    add({word, at});
  }
}

}  // namespace word_count
