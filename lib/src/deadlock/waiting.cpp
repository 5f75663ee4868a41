// SPDX-License-Identifier: BSL-1.0
//
// What a thread does between the slices of a long wait: first it says what it waits for, so that others
// can see it; then it looks whether it is part of a ring of threads that wait for one another. Each member
// finds the ring by itself, and all of them the same one and the same member that has to give up. That
// one throws; what it holds is let go of while its stack is unwound, and the others go on.

#include "deadlock/waiting.hpp"

#include "base/log_text.hpp"
#include "deadlock/report.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/log.hpp>

#include <new>
#include <utility>

#ifndef KIN_DEADLOCK_DETECTION
#define KIN_DEADLOCK_DETECTION 1
#endif

namespace kin::detail {

void Waiting::begin() noexcept {
  if (!deadline_.is_never() || SoftLimit::is_set()) wait_.flags = 0;
  // None: the table is full, and it tries again after another slice.
  record_ = begin_wait(wait_);
}

void Waiting::look_around() {
#if KIN_DEADLOCK_DETECTION
  const std::int64_t now = Deadline::now();
  if (wait_.since == 0) {
    wait_.since = now;
    return;
  }
  if (now - wait_.since < patience / 5) return;
  if (record_ == nullptr) return begin();
  if (!wait_.has(WaitFlags::for_ever) || now - wait_.since < patience) return;
  try {
    look_for_ring();
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it looks again after a slice
  }
#endif
}

void Waiting::look_for_ring() {
  Ring ring = find_ring(*record_);
  if (ring.empty() || ring != seen_) {
    seen_ = std::move(ring);
    return;
  }
  if (!is_alive(ring)) return;
  // By now it is certain. The first is this thread.
  if (chosen_of(ring) != 0) return;
  if (wait_.has(WaitFlags::may_throw)) throw deadlock_error(ring);
  if (std::exchange(has_warned_, true)) return;
  log_text(LogLevel::warning, [&] {
    return deadlock_text(ring) +
           "\nNone of them waits in a call that could give up, so they wait on.";
  });
}

}  // namespace kin::detail
