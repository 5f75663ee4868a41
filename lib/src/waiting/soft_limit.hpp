// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/fork_depth.hpp"
#include "base/function_ref.hpp"

#include <kin/detail/deadline.hpp>

#include <cstdint>
#include <string>

namespace kin::detail {

/// The soft limit of the task that this thread runs: calls of the user's that would wait give up when it has
/// passed.
///
///     const SoftLimit limit(task.soft_limit, Deadline::now());
///     task.run();  // whoever is about to wait there, or has for a slice: SoftLimit::check();
///
/// In force for a scope and in this thread. Only those ask who hold nothing and have changed nothing that
/// an exception would leave half done.
/// After fork: a child does not run its parent's task, and has no limit.
class SoftLimit {
 public:
  /// None: what has to be done is waited for.
  SoftLimit() noexcept : SoftLimit(0, 0) {}
  /// So long after `start`; 0: none.
  SoftLimit(std::uint32_t milliseconds, std::int64_t start) noexcept;
  ~SoftLimit() { own_ = before_; }
  SoftLimit(const SoftLimit&) = delete;
  SoftLimit& operator=(const SoftLimit&) = delete;

  [[nodiscard]] static bool is_set() noexcept {
    return own_.milliseconds != 0 && own_.process == fork_depth;
  }
  [[nodiscard]] static bool has_passed() noexcept {
    return is_set() && Deadline::now() >= own_.until;
  }
  /// Whether who waits is to give up: it has passed, and the stack is not being unwound, as destructors
  /// wait too.
  [[nodiscard]] static bool gives_up() noexcept;
  /// When it passes, for somebody else to watch; never where nobody would give up then.
  [[nodiscard]] static Deadline deadline() noexcept {
    return is_set() ? deadline_of_set() : Deadline::never();
  }
  /// Throws TimeoutError: it has passed, as whoever watched it says.
  [[noreturn]] static void give_up() { give_up_for({}); }
  /// Throws TimeoutError then.
  static void check() {
    if (is_set()) [[unlikely]] {
      give_up_if_passed([] { return std::string(); });
    }
  }
  /// The same; the error also tells what was waited for.
  static void check(FunctionRef<std::string()> what) {
    if (is_set()) [[unlikely]] {
      give_up_if_passed(what);
    }
  }
  /// The same for who waits until then; who only looks does not wait.
  static void check(Deadline deadline) {
    if (!deadline.is_passed_from_start()) check();
  }
  /// The next item of a task has the whole time again.
  static void begin_anew(std::int64_t now) noexcept { own_.until = now + own_.nanoseconds(); }

 private:
  struct InForce {
    std::uint32_t milliseconds;  // 0: none
    int process;                 // its fork depth
    int exceptions;              // on their way when it began
    std::int64_t until;

    [[nodiscard]] std::int64_t nanoseconds() const noexcept {
      return std::int64_t{milliseconds} * 1'000'000;
    }
  };
  [[nodiscard]] static Deadline deadline_of_set() noexcept;
  static void give_up_if_passed(FunctionRef<std::string()> what);
  [[noreturn]] static void give_up_for(const std::string& what);

  // Initial-exec: reading it costs no call.
  [[gnu::tls_model("initial-exec")]] static inline constinit thread_local InForce own_{};
  InForce before_;
};

}  // namespace kin::detail
