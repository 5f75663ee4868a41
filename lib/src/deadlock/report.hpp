// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "deadlock/ring.hpp"

#include <kin/error.hpp>

#include <string>

namespace kin::detail {

/// What people read of a ring that is certain; the first member is this thread.
std::string deadlock_text(const Ring& ring);
DeadlockError deadlock_error(const Ring& ring);

/// "Process-1 (pid 4711)".
std::string process_text(Stamp process);
/// The same, and its thread if it is not the main one.
std::string thread_text(Stamp process, pid_t thread);
/// "lock "accounts"", "the end of Process-1 (pid 4711)", "a message".
std::string target_text(const Wait& wait);

/// For who waited in vain for a lock: "lock "accounts", which Process-1 (pid 4711) has held since bank.cpp:12,
/// in void move(int)".
std::string lock_text(const LockObject& lock);

}  // namespace kin::detail
