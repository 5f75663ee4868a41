// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "nursery/notice_board.hpp"

#include <kin/detail/callback.hpp>

#include <atomic>
#include <memory>
#include <thread>

namespace kin::detail {

/// The pool's own thread in its maker's process: callbacks run there, one at a time. Started by the first
/// who wants one.
class Notices {
 public:
  struct Calls {
    Callback<void(TaskSlot&)> on_notice;  // for each task that is over and was observed
    Callback<void()> on_request;          // somebody wants all tasks to be looked at
    Callback<void()> on_pause;            // there was none for a while; and at the end
  };
  Notices(NoticeBoard& board, Calls calls) : board_(board), calls_(std::move(calls)) {}
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
  bool take_all(const std::atomic<bool>& is_left);

  NoticeBoard& board_;
  Calls calls_;
  bool has_ended_ = false;
  // Set when the thread is left to itself, by itself: it must not touch this any more.
  std::shared_ptr<std::atomic<bool>> is_left_ = std::make_shared<std::atomic<bool>>(false);
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_;
};

}  // namespace kin::detail
