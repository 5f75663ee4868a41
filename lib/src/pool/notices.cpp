// SPDX-License-Identifier: BSL-1.0

#include "pool/notices.hpp"

#include "base/signal_mask.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <chrono>
#include <system_error>

namespace kin::detail {

void Notices::start() {
  if (thread_.joinable() || has_ended_) return;
  const SignalsBlocked blocked;  // signals are for the application's threads
  try {
    thread_ = std::thread([this, is_left = is_left_] { run(*is_left); });
  } catch (const std::system_error& error) {
    throw SystemError("pthread_create", error.code().value());
  }
}

void Notices::run(const std::atomic<bool>& is_left) {
  thread_id_.store(std::this_thread::get_id());
  try {
    while (!is_left.load()) {
      TaskHint hint{};
      const auto take = [&](TaskHint taken) { hint = taken; };
      const auto slice = std::chrono::nanoseconds(slice_nanoseconds);
      // Notices mostly come many at a time; then nobody asks for the time of day.
      if (get_hint(memory_.notices(), take, Deadline::passed()) ||
          get_hint(memory_.notices(), take, Deadline::after(slice))) {
        on_notice_(hint);
      } else {
        on_pause_();
      }
    }
  } catch (const QueueShutDown&) {
    on_pause_();  // the pool has ended: for the last time
  } catch (const std::exception& error) {
    log(LogLevel::error, std::string("a pool calls no callbacks any more: ") + error.what());
  }
}

void Notices::end() {
  has_ended_ = true;
  shut_down_hints(memory_.notices());
  if (!thread_.joinable()) return;
  if (is_here()) {
    is_left_->store(true);
    thread_.detach();  // the pool is destroyed by one of its own callbacks
  } else {
    thread_.join();
  }
}

}  // namespace kin::detail
