// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

/// Makes the process that calls it, forked a moment ago by fork_stranger(), one that has nothing to do with
/// those it comes from: a process group of its own, all signals blocked as they were, "/" as its directory, no
/// descriptor but `keep` and stderr (stdin and stdout are /dev/null), none of the application's memory and
/// not the arena. Returns the number that `keep` has now.
///
/// From then on there are the stack, constants, and what the process maps itself: no malloc, no variable
/// that is static, and nothing of the C library but syscall(). Many of its functions look at such variables.
int become_stranger(int keep) noexcept;

/// Ends a process that was forked unseen: no exit handler runs, nothing is flushed.
[[noreturn]] void leave_unseen(int exit_code) noexcept;

}  // namespace kin::detail
