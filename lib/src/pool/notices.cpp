// SPDX-License-Identifier: BSL-1.0

#include "pool/notices.hpp"

#include "base/log_text.hpp"
#include "base/own_thread.hpp"

#include <kin/log.hpp>

#include <chrono>

namespace kin::detail {

void Notices::start() {
  if (thread_.joinable() || has_ended_) return;
  thread_ = start_own_thread([this, is_left = is_left_] { run(*is_left); });
}

void Notices::run(const std::atomic<bool>& is_left) {
  thread_id_.store(std::this_thread::get_id());
  try {
    while (!is_left.load()) {
      const bool is_last = board_.is_shut();
      if (take_all(is_left)) continue;
      if (is_last) return calls_.on_pause();
      if (!board_.wait(Deadline::after(std::chrono::nanoseconds(slice_nanoseconds)))) {
        calls_.on_pause();
      }
    }
  } catch (const std::exception& error) {
    log_text(LogLevel::error,
             [&] { return std::string("a pool calls no callbacks any more: ") + error.what(); });
  }
}

// False when there was nothing. Nothing of the pool's is touched when the thread was left.
bool Notices::take_all(const std::atomic<bool>& is_left) {
  const bool was_asked = board_.was_asked();
  const bool had_some = board_.take_all([&](TaskSlot& slot) {
    calls_.on_notice(slot);
    return !is_left.load(std::memory_order_relaxed);
  });
  if (was_asked && !is_left.load()) calls_.on_request();
  return had_some || was_asked;
}

void Notices::end() {
  has_ended_ = true;
  board_.shut();
  if (!thread_.joinable()) return;
  if (is_here()) {
    is_left_->store(true);
    thread_.detach();  // the pool is destroyed by one of its own callbacks
  } else {
    thread_.join();
  }
}

}  // namespace kin::detail
