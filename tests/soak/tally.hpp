// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "hunt.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace soak {

inline unsigned long long ull(std::uint64_t number) { return number; }

/// How often something was done, noted by the workers in places of their own.
struct Tally {
  std::array<std::atomic<std::uint64_t>, Herd::most_incarnations> begun;
  std::array<std::atomic<std::uint64_t>, Herd::most_incarnations> ended;

  [[nodiscard]] std::uint64_t least() const { return sum(ended); }
  [[nodiscard]] std::uint64_t most() const { return sum(begun); }

 private:
  static std::uint64_t sum(
      const std::array<std::atomic<std::uint64_t>, Herd::most_incarnations>& all) {
    std::uint64_t total = 0;
    for (const auto& one : all) total += one.load();
    return total;
  }
};

/// Notes one time, for its scope. If it was not done after all, take_back().
class Note {
 public:
  Note(Tally& tally, std::uint32_t incarnation)
      : begun_(tally.begun[incarnation]), ended_(tally.ended[incarnation]) {
    begun_.fetch_add(1);
  }
  ~Note() {
    if (is_done_) ended_.fetch_add(1);
  }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
  void take_back() {
    is_done_ = false;
    begun_.fetch_sub(1);
  }

 private:
  std::atomic<std::uint64_t>& begun_;
  std::atomic<std::uint64_t>& ended_;
  bool is_done_ = true;
};

inline void require_within(const char* what, std::uint64_t is, std::uint64_t least,
                           std::uint64_t most) {
  if (is >= least && is <= most) return;
  violation("%s: %llu, by the notes %llu to %llu", what, ull(is), ull(least), ull(most));
}
/// It was done as often as was noted.
inline void require_times(const char* what, std::uint64_t is, const Tally& done) {
  require_within(what, is, done.least(), done.most());
}
/// As much is left as was brought and not taken.
inline void require_left(const char* what, std::uint64_t is, const Tally& brought,
                         const Tally& taken) {
  const auto without = [](std::uint64_t more, std::uint64_t less) {
    return more > less ? more - less : 0;
  };
  require_within(what, is, without(brought.least(), taken.most()),
                 without(brought.most(), taken.least()));
}

}  // namespace soak
