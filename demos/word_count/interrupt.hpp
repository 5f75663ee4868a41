// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace word_count {

/// Ctrl-C, SIGTERM or SIGHUP came. On its way up this exception ends all children: that is what the
/// destructor of a Process does while the stack unwinds.
struct Interrupted {
  int signal;
};

/// From now on these signals are noted in this process, and end its children without a word. The second
/// of a kind ends this process at once, and its daemons with it.
void catch_signals();

/// Throws Interrupted if there was one.
void stop_if_interrupted();

}  // namespace word_count
