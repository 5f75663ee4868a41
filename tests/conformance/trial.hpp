// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/belongings.hpp"
#include "support/sanitizer.hpp"

#include <kin/kin.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <future>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

/// What the cases of this folder are made of. A P row is tested with processes, a T row with
/// threads as well.
namespace trial {

using namespace std::chrono_literals;

/// How long a wait may take before the case fails; far more than any needs.
inline constexpr std::chrono::seconds patience(60);

/// The frame of a case: it ends with the descriptors and the children with which it began.
class Trial {
 public:
  Trial() = default;
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() { CHECK(before_.difference_now() == ""); }

 private:
  // The shared memory is made when it is first used, and keeps a descriptor.
  kin::Lock first_use_;
  support::Belongings before_;
};

/// The exit code of a child; none, and the child is killed, if it does not end.
inline std::optional<int> end_of(kin::Process& child) {
  if (child.join_for(patience)) return child.exit_code();
  child.kill();
  child.join();
  return std::nullopt;
}

/// Starts it and waits for its end.
template <typename... Arguments>
std::optional<int> outcome(Arguments&&... arguments) {
  kin::Process child(std::forward<Arguments>(arguments)...);
  child.start();
  return end_of(child);
}

/// For where a CHECK would not be seen, in children: an exception becomes their exit code.
inline void expect(bool condition, std::source_location where = std::source_location::current()) {
  if (!condition) {
    throw std::runtime_error(std::string("not as expected: ") + where.file_name() + ":" +
                             std::to_string(where.line()));
  }
}

/// Tries again and again until it is true; false if it never was.
inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

enum class Kind { process, thread };

/// Runs the rest of the case twice, with processes and with threads.
inline Kind each_kind() {
  Kind kind{};
  SUBCASE("between processes") { kind = Kind::process; }
  SUBCASE("between threads") { kind = Kind::thread; }
  return kind;
}

/// Someone else who uses the objects of the case: another process, or another thread.
class Companion {
 public:
  Companion(Kind kind, std::function<void()> body) {
    if (kind == Kind::process) {
      process_.emplace(std::move(body));
      process_->start();
    } else {
      thread_ = std::async(std::launch::async, std::move(body));
    }
  }
  /// Whether its body came to its end, without an exception, in time.
  [[nodiscard]] bool ends_well() {
    if (process_) return end_of(*process_) == 0;
    if (thread_.wait_for(patience) != std::future_status::ready) return false;
    thread_.get();
    return true;
  }

 private:
  std::optional<kin::Process> process_;
  std::future<void> thread_;
};

/// Runs `body` on the main thread, and in the case's second round on several threads at once: for
/// what concerns processes themselves. Children are forked in the midst of threads then.
template <typename Body>
void on_threads_too(Body body) {
  SUBCASE("on the main thread") { body(); }
  SUBCASE("on several threads at once") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    std::vector<std::future<void>> threads;
    for (int i = 0; i < 3; ++i) threads.push_back(std::async(std::launch::async, body));
    for (auto& thread : threads) thread.get();
  }
}

}  // namespace trial
