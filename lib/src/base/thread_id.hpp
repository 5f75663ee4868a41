// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <sys/types.h>
#include <unistd.h>

namespace kin::detail {

// Initial-exec: reading it costs no call.
[[gnu::tls_model("initial-exec")]] inline thread_local pid_t cached_thread_id = 0;

/// The kernel's id of this thread, kept.
/// After fork: forget_thread_id() in the child, whose thread has another one.
inline pid_t thread_id() noexcept {
  if (cached_thread_id == 0) cached_thread_id = ::gettid();
  return cached_thread_id;
}
inline void forget_thread_id() noexcept { cached_thread_id = 0; }

}  // namespace kin::detail
