// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/fork_depth.hpp"
#include "base/signal_mask.hpp"

#include <kin/error.hpp>

#include <atomic>
#include <system_error>
#include <thread>
#include <utility>

namespace kin::detail {

/// Counts a thread that kin made for itself, from before it is there until it ends.
/// After fork: there is no such thread in the child, whose handler forgets them all.
class OwnThread {
 public:
  OwnThread() noexcept { ++living_; }
  OwnThread(OwnThread&& other) noexcept : depth_(std::exchange(other.depth_, -1)) {}
  OwnThread(const OwnThread&) = delete;
  OwnThread& operator=(const OwnThread&) = delete;
  OwnThread& operator=(OwnThread&&) = delete;
  ~OwnThread() {
    if (depth_ == fork_depth) --living_;
  }

  [[nodiscard]] static int living() noexcept { return living_.load(); }
  /// Whether this thread is one.
  [[nodiscard]] static bool is_here() noexcept { return is_here_; }
  static void forget() noexcept {
    living_.store(0);
    is_here_ = false;
  }

 private:
  template <typename Body>
  friend std::thread start_own_thread(Body body);

  static inline std::atomic<int> living_{0};
  static inline thread_local bool is_here_ = false;
  int depth_ = fork_depth;
};

/// A thread of kin's own: signals are for the application's threads, and who warns of threads does not count
/// it. Throws SystemError.
template <typename Body>
std::thread start_own_thread(Body body) {
  const SignalsBlocked blocked;
  try {
    return std::thread([count = OwnThread(), body = std::move(body)]() mutable {
      OwnThread::is_here_ = true;
      body();
    });
  } catch (const std::system_error& error) {
    throw SystemError("pthread_create", error.code().value());
  }
}

}  // namespace kin::detail
