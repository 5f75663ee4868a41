// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>

namespace kin::detail {

// What the processes have in common that kin makes for itself, as a pool's nursery and a manager's server: forks
// of the application that run none of its code unless they are told to.

/// Before such a process is made: a fork has one thread, and what the others of this process were doing
/// stays half done in it. `what` begins the sentence, "its workers are forks".
void warn_of_threads(const std::string& name, const std::string& what);

/// In such a process. Ctrl-C goes to the whole family; what is to become of this one, its maker says.
void leave_interrupts_to_parent();

}  // namespace kin::detail
