// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"

#include <sys/types.h>

namespace kin::detail {

/// What fork_process() returns: twice, as fork does.
struct Forked {
  pid_t pid;    // 0 in the child
  Stamp stamp;  // the child's
};

/// Flushes stdio and iostreams and forks. The only place where kin forks. Call it with signals
/// blocked, so that no handler of the parent's runs in a child that is not set up yet.
/// Throws SystemError, in the parent, when there is no child.
Forked fork_process();

/// Makes a process that is no member of the family and nobody's child: it outlives whoever made it, nobody
/// waits for it, and it keeps nothing of theirs. It calls `life(fd)` with what was `keep`; beside that it
/// has stderr open, has all signals blocked, and next to no memory: see become_stranger().
/// No fork handler runs, neither kin's nor another's. Call it with signals blocked. Throws SystemError.
void fork_stranger(int keep, void (*life)(int fd));

/// From the first call on every fork of this process, by whomever, runs kin's handlers. Called when the
/// library is loaded, by this part and by those that a program with a plain fork() uses without
/// Process: of a static library only what is called is linked.
bool set_fork_handlers() noexcept;

/// From now on every child of this process calls it first of all, when it is a member of the family; with no
/// lock of kin's held. For parts that are loaded: a few.
void call_in_children(void (*handler)() noexcept) noexcept;

/// Flushes stdio and iostreams; what can't be written is nobody's failure here. While a thread reads stdin,
/// of stdio only stdout and stderr; waits for one that reads another FILE.
void flush_streams() noexcept;

}  // namespace kin::detail
