// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "trial.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <memory>
#include <ranges>
#include <utility>

#include <csignal>
#include <unistd.h>

/// What executors are given to do.
namespace trial {

/// Of a case that stands for both executors.
#define BOTH_EXECUTORS kin::ProcessPoolExecutor, kin::ThreadPoolExecutor

template <typename Executor>
inline constexpr bool has_processes = std::is_same_v<Executor, kin::ProcessPoolExecutor>;

/// Where calls wait until the case lets them go on. May be an argument of a call.
class Gate {
 public:
  /// In the call.
  void pass() const {
    arrived_.put(::getpid());
    expect(let_through_.get_for(patience).has_value());
  }
  /// Lets that many calls pass, those to come included.
  void open(int calls = 1) const {
    for (int i = 0; i < calls; ++i) let_through_.put(true);
  }
  /// Waits until somebody stands there; who it is.
  [[nodiscard]] pid_t await_one() const {
    const auto pid = arrived_.get_for(patience);
    REQUIRE(pid);
    return *pid;
  }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& arrived_;
    archive& let_through_;
  }

 private:
  kin::Queue<pid_t> arrived_;
  kin::Queue<bool> let_through_;
};

inline int pass(const Gate& gate, int result) {
  gate.pass();
  return result;
}
inline int pass_and_fail(const Gate& gate) {
  gate.pass();
  throw std::domain_error("behind the gate");
}

inline int square(int x) { return x * x; }
inline pid_t own_pid() { return ::getpid(); }
inline pid_t parent_pid() { return ::getppid(); }
inline int fail_with(const std::string& text) { throw std::domain_error(text); }

/// Waits for a future of whose end nothing is known but that it comes.
template <typename T>
bool ends(const kin::Future<T>& future) {
  return future.wait_for(patience);
}

/// The exception of a future that fails.
template <typename T>
std::exception_ptr why_it_failed(const kin::Future<T>& future) {
  REQUIRE(ends(future));
  return future.exception();
}

/// Whether the kernel knows no such process any more.
inline bool is_gone(pid_t pid) { return ::kill(pid, 0) == -1 && errno == ESRCH; }

/// Counts how many of each number live in this process; what was moved from does not.
class Counted {
 public:
  static constexpr std::size_t most = 16;
  static int living(std::size_t number) { return counts()[number].load(); }

  Counted() = default;
  explicit Counted(std::size_t number) : number_(number) { count(1); }
  Counted(const Counted& other) : number_(other.number_) { count(1); }
  Counted(Counted&& other) noexcept : number_(std::exchange(other.number_, most)) {}
  Counted& operator=(Counted other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Counted() { count(-1); }

  [[nodiscard]] std::size_t number() const { return number_; }
  [[nodiscard]] int call() const { return static_cast<int>(number_); }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    std::size_t number = number_;
    archive& number;
    *this = Counted(number);
  }

 private:
  static std::array<std::atomic<int>, most>& counts() {
    static std::array<std::atomic<int>, most> all{};
    return all;
  }
  void count(int change) const {
    if (number_ != most) counts()[number_] += change;
  }

  std::size_t number_ = most;
};

}  // namespace trial
