// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "trial.hpp"

#include <exception>
#include <optional>
#include <stdexcept>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

/// What pools are given to do, and what is asked of those that were given something bad.
namespace pool_trial {

using namespace trial;

using Gate = kin::Queue<int>;

inline int square(int x) { return x * x; }
inline int fail(const char* text) { throw std::runtime_error(text); }
inline int own_pid() { return ::getpid(); }
inline int wait_at(const Gate& gate) { return gate.get_for(patience).value_or(-1); }
inline int sleep_for_ever() {
  while (true) ::pause();
}

/// Still whole, with as many workers as it was made with.
inline bool goes_on(kin::Pool& pool, std::size_t workers) {
  return pool.apply(square, 12) == 144 &&
         eventually([&] { return pool.worker_pids().size() == workers; });
}

/// How the task ended; none if it did not.
template <typename T>
std::optional<kin::WorkerDied> death_of(const kin::Future<T>& future) {
  REQUIRE(future.wait_for(patience));
  try {
    static_cast<void>(future.get());
  } catch (const kin::WorkerDied& death) {
    return death;
  }
  return std::nullopt;
}

template <typename T>
std::string failure_of(const kin::Future<T>& future) {
  REQUIRE(future.wait_for(patience));
  try {
    static_cast<void>(future.get());
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

/// A pool may break before it is given a task, or behind it.
template <typename Pool>
std::string why_broken(Pool& pool) {
  try {
    const auto future = pool.apply_async(square, 3);
    expect(future.wait_for(patience));
    static_cast<void>(future.get());
  } catch (const kin::BrokenPool& broken) {
    return broken.what();
  }
  return "";
}

/// Of a type that nobody registered.
struct OfTheTask : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return "why"; }
};

/// Can't be read by who gets it.
struct Unreadable {
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    int value = 1;
    archive& value;
    if constexpr (Archive::is_loading::value) throw std::runtime_error("can't be read");
  }
};

/// What is logged meanwhile.
class Logged {
 public:
  Logged() {
    kin::set_log_sink(
        [lines = lines_](kin::LogLevel, std::string_view line) { lines.put(std::string(line)); });
  }
  Logged(const Logged&) = delete;
  Logged& operator=(const Logged&) = delete;
  ~Logged() { kin::set_log_sink({}); }
  // The next line, empty if there is none.
  std::string next() { return lines_.try_get().value_or(""); }
  [[nodiscard]] bool is_empty() const { return lines_.empty(); }

 private:
  kin::Queue<std::string> lines_;
};

inline bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

/// Workers print what their initializer throws; not here.
inline void be_quiet() {
  const int null = ::memfd_create("stderr", MFD_CLOEXEC);
  static_cast<void>(::dup2(null, STDERR_FILENO));
  ::close(null);
}

}  // namespace pool_trial
