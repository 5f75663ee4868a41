// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "nursery/pool_state.hpp"

#include <kin/detail/callback.hpp>

#include <atomic>
#include <memory>
#include <thread>

namespace kin::detail {

/// The pool's own thread in its maker's process: callbacks run there, one at a time. Started by the first
/// who wants one.
class Notices {
 public:
  /// `on_notice` is called for each task that is over and was observed, `on_pause` when there was none for
  /// a while, and at the end.
  Notices(PoolMemory& memory, Callback<void(TaskHint)> on_notice, Callback<void()> on_pause)
      : memory_(memory), on_notice_(std::move(on_notice)), on_pause_(std::move(on_pause)) {}
  ~Notices() = default;
  Notices(const Notices&) = delete;
  Notices& operator=(const Notices&) = delete;

  /// One thread at a time. Throws SystemError when no thread can be had; again may help.
  void start();
  /// Whether this is that thread.
  [[nodiscard]] bool is_here() const noexcept {
    return thread_id_.load() == std::this_thread::get_id();
  }
  /// Waits until all notices that were sent have been dealt with. One thread at a time.
  void end();

 private:
  void run(const std::atomic<bool>& is_left);

  PoolMemory& memory_;
  Callback<void(TaskHint)> on_notice_;
  Callback<void()> on_pause_;
  bool has_ended_ = false;
  // Set when the thread is left to itself, by itself: it must not touch this any more.
  std::shared_ptr<std::atomic<bool>> is_left_ = std::make_shared<std::atomic<bool>>(false);
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_;
};

}  // namespace kin::detail
