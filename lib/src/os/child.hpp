// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"

#include <kin/detail/deadline.hpp>
#include <kin/unique_fd.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include <sys/types.h>

namespace kin::detail {

struct LifeLine;

/// A process as another sees it: a child of this one, its parent, or itself. The only place where kin
/// waits for processes and signals them; always by pidfd, so never a pid that is another's by now.
///
/// Sharing: thread-safe.
/// After fork: in the child the parent's children are empty; asking them throws std::logic_error.
class Child {
 public:
  enum class Kind { child, other };

  struct About {
    pid_t pid;
    Stamp stamp;
    std::string name;
    bool daemon;
    Kind kind;
    bool is_hidden = false;  // a process of kin's own
  };

  Child(About about, UniqueFd pidfd);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] const About& about() const noexcept { return about_; }
  /// Reaps it when it is dead.
  [[nodiscard]] bool is_alive();
  /// None while it lives, and where nobody can tell; see Process::exit_code().
  [[nodiscard]] std::optional<int> exit_code();
  /// How a join waits.
  struct Joining {
    std::source_location where = {};
    bool may_throw = false;  // when it is part of a deadlock, or the task's soft limit has passed
  };
  /// Waits for its death; false when the time is up.
  bool join(Deadline deadline, const Joining& joining);
  bool join(Deadline deadline) { return join(deadline, Joining()); }
  void send_signal(int signal);
  [[nodiscard]] int descriptor() const;
  /// Closes the descriptors.
  void close() noexcept;

  /// SIGTERM, a second's patience, SIGKILL; returns when it is dead.
  void terminate_and_join() noexcept;

 private:
  friend std::shared_ptr<Child> add_child(About about, UniqueFd pidfd, LifeLine* life_line);
  friend void forget_children_of_parent() noexcept;
  /// Stays open meanwhile, whoever closes this. Throws std::logic_error where it is closed.
  [[nodiscard]] std::shared_ptr<const UniqueFd> held_pidfd() const;
  bool wait_for_death(Deadline deadline) const;
  /// Of one that is dead. False if it can't be reaped yet: its pidfd tells of a death at once, but who traces
  /// it is told before its parent.
  bool reap();
  bool wait_and_reap(Deadline deadline);

  About about_;
  std::shared_ptr<UniqueFd> pidfd_;  // guarded by the lock of this process's children
  UniqueFd life_line_;               // the write end of a daemon's
  std::optional<int> exit_code_;     // written once, before reaped_
  std::atomic<bool> reaped_ = false;
};

/// A pipe whose read end kills the process that holds it when the last write end closes: the kernel
/// sends it SIGKILL, however busy it is. (PR_SET_PDEATHSIG would fire when the forking *thread* ends.)
struct LifeLine {
  UniqueFd read_end;
  UniqueFd write_end;

  LifeLine();
  ~LifeLine() {
    if (write_end) cut(write_end);
  }
  LifeLine(const LifeLine&) = delete;
  LifeLine& operator=(const LifeLine&) = delete;

  /// Closes a write end, if it is open; threads may do so at once.
  static void cut(UniqueFd& write_end) noexcept;
  /// In the child that is to die with the holders of the other end, which this child is none of: its
  /// fork handler closed that. The read end stays open as long as the process lives.
  void hold();
};

/// Enters a child among those of this process, and gives it the write end of a daemon's life-line: not where
/// it throws.
std::shared_ptr<Child> add_child(Child::About about, UniqueFd pidfd, LifeLine* life_line = nullptr);
/// The children that live; those that are dead are reaped on the way.
std::vector<std::shared_ptr<Child>> living_children();
/// Part of every process's end: daemons are terminated, others joined.
void end_children() noexcept;
/// In a child after fork: closes the descriptors of the parent's children, write ends of life-lines
/// above all, which must close with the parent; and the end that the parent itself holds.
void forget_children_of_parent() noexcept;

UniqueFd open_pidfd(pid_t pid);
/// Kills a process that need not be a child of this one, waits for its end, and takes away what belonged to
/// it. False when it lives on at the deadline; one that may not be killed is waited for all the same.
bool kill_and_sweep(Stamp stamp, Deadline deadline);
/// Ends a child that was forked a moment ago, has no Child yet, and does not end by itself.
void kill_and_reap(pid_t pid, Stamp stamp) noexcept;
/// Waits for a child that no wait() of the application's sees, and returns its exit code; 0 where that can't
/// be known.
int reap_unseen(pid_t pid) noexcept;

}  // namespace kin::detail
