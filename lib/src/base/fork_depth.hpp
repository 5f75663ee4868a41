// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

/// How many forks lie between the first process of the family and this one. Who keeps the number beside
/// what belongs to one process sees later whether it looks at a copy in a child; also where no process
/// has a stamp yet, since nothing that is shared was used.
/// Writers: the fork handler of a child, when it has one thread.
inline int fork_depth = 0;

}  // namespace kin::detail
