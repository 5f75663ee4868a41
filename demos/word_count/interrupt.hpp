// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace word_count {

/// Ctrl-C, SIGTERM or SIGHUP came. On its way up this exception ends all workers: that is what the
/// destructor of a Pool does.
struct Interrupted {
  int signal;
};

/// From now on these signals are noted. The second of a kind ends this process at once, and with it the
/// workers of its pool.
void catch_signals();

/// Throws Interrupted if there was one.
void stop_if_interrupted();

}  // namespace word_count
