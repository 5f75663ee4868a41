// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "frame.hpp"

#include "shared/tracker.hpp"

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace unit {

/// Whether a file has a line with that text in it.
inline bool has_line(const std::string& file, const std::string& text) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

/// The number behind a word; -1 where there is no such word.
inline long number_in(const std::string& file, const std::string& word) {
  std::ifstream words(file);
  for (std::string one; words >> one;) {
    long number = 0;
    if (one == word && words >> number) return number;
  }
  return -1;
}

/// A forked process that has a tracker of its own, and a stderr that nobody else has.
class TrackedFamily {
 public:
  explicit TrackedFamily(std::function<std::string()> body)
      : TrackedFamily(made_pipe(), std::move(body)) {}

  /// Waits for its end.
  std::string answer() { return child_.answer(); }
  void kill() { child_.end(); }

  /// Its tracker, when that is all that it will be; 0 where there is none in the end.
  [[nodiscard]] pid_t tracker() const {
    pid_t pid = 0;
    static_cast<void>(eventually([&] {
      pid = tracker_now();
      return pid != 0 && crash::process_state(pid) == 'S';
    }));
    return pid;
  }

  /// What it and its tracker wrote to stderr, until the last of them was gone.
  [[nodiscard]] std::string said_to_the_end() const {
    std::string text;
    while (true) {
      pollfd about{from_.get(), POLLIN, 0};
      constexpr int milliseconds = 60'000;
      if (::poll(&about, 1, milliseconds) != 1) return text + "(and it did not end)";
      std::array<char, 4096> part{};
      const ssize_t size = ::read(from_.get(), part.data(), part.size());
      if (size <= 0) return text;
      text.append(part.data(), static_cast<std::size_t>(size));
    }
  }

 private:
  static std::array<int, 2> made_pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    return ends;
  }

  // It has the family's stderr.
  [[nodiscard]] pid_t tracker_now() const {
    const auto own = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(from_.get()));
    std::error_code gone;
    for (const auto& process : std::filesystem::directory_iterator("/proc", gone)) {
      std::string name;
      std::ifstream(process.path() / "comm") >> name;
      if (name != "kin-tracker") continue;
      if (std::filesystem::read_symlink(process.path() / "fd/2", gone) != own) continue;
      const std::string number = process.path().filename();
      pid_t pid = 0;
      std::from_chars(number.data(), number.data() + number.size(), pid);
      return pid;
    }
    return 0;
  }

  TrackedFamily(std::array<int, 2> ends, std::function<std::string()> body)
      : from_(ends[0]), child_([to = ends[1], run = std::move(body)] {
          kin::detail::leave_tracker();
          ::dup2(to, STDERR_FILENO);
          ::close(to);
          return run();
        }) {
    ::close(ends[1]);
  }

  kin::UniqueFd from_;
  Relative child_;
};

}  // namespace unit
