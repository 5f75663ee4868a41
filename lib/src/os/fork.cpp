// SPDX-License-Identifier: BSL-1.0
//
// Forking, and what every fork needs, also a plain fork() by other code: the handlers below are
// registered when the library is loaded. They make a child of anybody's a member of the family.
//
//   before:  the arena exists; the in-process locks are taken; the child has its slot and its birth
//   parent:  the locks are released
//   child:   the locks are released; it moves into its slot; what was the parent's is forgotten
// A stranger is made past all that: it is no member of the family.
//
// A slot that was reserved for a fork that failed is given back here; where other code's fork fails,
// nobody tells us, and the slot stays taken until this process ends.

#include "os/fork.hpp"

#include "base/fork_depth.hpp"
#include "base/fork_lock.hpp"
#include "base/log_text.hpp"
#include "base/own_thread.hpp"
#include "base/syscall.hpp"
#include "base/thread_id.hpp"
#include "os/child.hpp"
#include "os/stranger.hpp"

#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include <ext/stdio_sync_filebuf.h>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {
namespace {

[[gnu::tls_model("initial-exec")]] thread_local Stamp reserved = 0;

// Of parts that stand above this one. Entered as the library is loaded.
constinit std::array<void (*)() noexcept, 4> handlers_in_children{};

void join_family() noexcept {
  try {
    this_process();
  } catch (...) {  // NOLINT(bugprone-empty-catch): who needs it is told
  }
}

void before_fork() noexcept {
  bool has_arena = false;
  try {
    arena();
    has_arena = true;
    // Or it would pass for a child that has not moved in yet, as long as it lives.
    if (this_process_or_none() == 0) join_family();
    // Who is none of them, in another pid namespace, would take all for dead.
    if (this_process_or_none() != 0) sweep_some();
  } catch (const std::exception& error) {
    // Somebody else's fork may be the first that asks for the arena; it can't be told.
    log_text(LogLevel::error, [&] { return std::string("in a fork: ") + error.what(); });
  }
  ForkLock::lock_all();
  // With the locks held: what is made from now on is not inherited.
  reserved = has_arena ? reserve_slot() : 0;
}

void after_fork_in_parent() { ForkLock::unlock_all(); }

void after_fork_in_child() {
  ForkLock::unlock_all();
  ++fork_depth;
  OwnThread::forget();
  forget_thread_id();
  adopt_slot(reserved);
  forget_children_of_parent();
  for (auto* handler : handlers_in_children) {
    if (handler != nullptr) handler();
  }
}

// As fork(), but past all handlers and past the application: its wait() does not see the child, and no
// SIGCHLD tells of its end. Neither the C library nor anyone else learns that this is another process,
// so the child uses system calls, its stack, and nothing else.
pid_t fork_unseen() noexcept {
  return static_cast<pid_t>(syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr));
}

[[maybe_unused]] const bool handlers_are_set = set_fork_handlers();

}  // namespace

bool set_fork_handlers() noexcept {
  static const bool set =
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
  return set;
}

void call_in_children(void (*handler)() noexcept) noexcept {
  auto* const place = std::ranges::find(handlers_in_children, nullptr);
  assert(place != handlers_in_children.end());
  *place = handler;
}

void flush_streams() noexcept {
  // All files, also those of the application's; but that waits for who reads one, and stdin is read for
  // as long as somebody types nothing.
  if (::ftrylockfile(stdin) == 0) {
    std::fflush(nullptr);
    ::funlockfile(stdin);
  } else {
    std::fflush(stdout);
    std::fflush(stderr);
  }
  for (std::ostream* stream : {&std::cout, &std::cerr, &std::clog}) {
    // Unless the application changed that, they write through stdio and hold nothing themselves.
    using Synced = __gnu_cxx::stdio_sync_filebuf<char>;
    if (dynamic_cast<const Synced*>(stream->rdbuf()) != nullptr) continue;
    try {
      stream->flush();
    } catch (...) {  // NOLINT(bugprone-empty-catch): see the header
    }
  }
}

Forked fork_process() {
  this_process();  // throws where this process is refused, before there is a child
  flush_streams();
  const pid_t pid = ::fork();
  if (pid == -1) {
    const int why = errno;
    cancel_slot(reserved);
    throw SystemError("fork", why);
  }
  return {pid, reserved};
}

void fork_stranger(int keep, void (*life)(int fd)) {
  const pid_t between = checked("clone", fork_unseen());
  if (between == 0) {
    // The end of this one makes an orphan of the other, which init adopts.
    const pid_t stranger = fork_unseen();
    if (stranger == 0) life(become_stranger(keep));
    leave_unseen(stranger == -1 ? errno : 0);
  }
  const int why = reap_unseen(between);
  if (why != 0) throw SystemError("clone", why);
}

}  // namespace kin::detail
