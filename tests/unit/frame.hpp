// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"

#include "support/belongings.hpp"
#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <kin/detail/deadline.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <utility>

/// What the cases of this folder are made of.
namespace unit {

using namespace std::chrono_literals;

/// How long a wait may take before the case fails; far more than any needs.
inline constexpr std::chrono::seconds patience(60);
inline kin::detail::Deadline last_moment() { return kin::detail::Deadline::after(patience); }

/// The frame of a case: it ends with the descriptors and the children with which it began.
class Frame {
 public:
  Frame() = default;
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  ~Frame() { CHECK(before_.difference_now() == ""); }

 private:
  // The arena is made when it is first used, and keeps a descriptor.
  kin::detail::Stamp first_use_ = kin::detail::this_process();
  support::Belongings before_;
};

/// Tries again and again until it is true; false if it never was.
template <typename Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A forked process that runs `body` and answers with a string. A CHECK in it would not be seen.
///
///     unit::Relative child([&] { return lock.try_lock() ? "free" : "held"; });
///     CHECK(child.answer() == "held");
///
/// What belonged to it in shared memory is swept once it has ended. It is killed by the destructor.
class Relative {
 public:
  explicit Relative(std::function<std::string()> body)
      : process_([this, run = std::move(body)] {
          *stamp_ = kin::detail::this_process();
          return run();
        }) {}
  Relative(const Relative&) = delete;
  Relative& operator=(const Relative&) = delete;
  ~Relative() { end(); }

  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  /// 0 until it has begun.
  [[nodiscard]] kin::detail::Stamp stamp() const { return *stamp_; }
  [[nodiscard]] bool falls_asleep() const {
    return process_.sleeps_by(crash::Clock::now() + patience);
  }
  /// Waits for its end: its answer, or why it has none.
  std::string answer() {
    const bool ended = process_.ends_by(crash::Clock::now() + patience);
    if (!ended) return "it did not end";
    sweep();
    return process_.answer().value_or("failed: " + process_.failure());
  }
  /// Kills it if it runs, and waits for its end.
  void end() {
    // Not before it is one of the family: nobody could tell then which slot was its own.
    eventually([&] { return *stamp_ != 0 || process_.ends_by(crash::Clock::now()); });
    if (!process_.ends_by(crash::Clock::now())) {
      ::kill(process_.pid(), SIGKILL);
      static_cast<void>(process_.ends_by(crash::Clock::now() + patience));
    }
    sweep();
  }

 private:
  void sweep() {
    if (const auto stamp = stamp_->exchange(0); stamp != 0) kin::detail::sweep(stamp);
  }

  crash::SharedPage<std::atomic<kin::detail::Stamp>> stamp_;
  crash::Bystander process_;
};

/// Runs `body` in a forked process: its answer, or why there is none.
inline std::string answer_of(std::function<std::string()> body) {
  return Relative(std::move(body)).answer();
}

}  // namespace unit
