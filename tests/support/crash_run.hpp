// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "bystander.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace crash {

/// What happened in a round before its check looks: one death, or one stop, of the traced process.
struct Moment {
  std::size_t step = 0;    ///< kill points the traced process had passed
  bool completed = false;  ///< the operation had returned
  std::size_t first_step =
      0;  ///< the same two of the operation before the recovery, if there is one
  bool first_completed = false;
  std::size_t partner_turns = 0;  ///< turns that the partner began; it has finished each of them
  const Bystander* sleeper = nullptr;

  /// What the sleeper returned. Waits for it: a sleeper that nobody woke is a check that hangs.
  std::string sleeper_answer() const;
};

/// Where the traced process is killed.
enum class At {
  every_instruction,
  /// Before and after each system call, and after each change of a watched range or the robust
  /// list.
  every_change,
};

enum class With {
  kill,  ///< SIGKILL
  stop,  ///< SIGSTOP; afterwards it goes on, and has to finish
};

/// An operation, the processes around it, and what must be true after any death in it.
///
/// One round, for one kill point: `prepare` in the test process; then, in a child each, the sleeper
/// until it sleeps, the partner, and the traced operation until it is killed; then `check` in a
/// child of its own, which returns one of the `expected` outcomes or throws. Nobody may hang. A
/// round after the other goes through all kill points, from "before the first instruction" to "the
/// operation has returned".
struct Scenario {
  std::string name;

  /// Makes what the round needs, in the test process. May leave it as it is, to go on with used
  /// objects.
  std::function<void()> prepare = [] {};
  std::function<void()> operation = {};
  std::function<std::string(const Moment&)> check = {};

  /// The outcomes that are right; each of them must occur, if no kill points were left out.
  std::vector<std::string> expected = {};
  /// Right as well, but need not occur.
  std::vector<std::string> possible = {};

  With with = With::kill;
  At at = At::every_instruction;

  /// The shared memory that the operation may change, asked for after each `prepare`. Small is
  /// fast.
  std::function<std::vector<std::span<const std::byte>>()> watch = {};

  /// Gives up, in the test process, what the traced process was forked with and the check is not to
  /// have.
  std::function<void()> let_go = [] {};

  /// What the other processes must be able to do while the traced one is stopped.
  std::function<void()> while_stopped = [] {};

  /// A second traced process, that runs after the first was killed, and is the one whose every kill
  /// point is tried. The first is killed at each change if there is something to watch, else at
  /// each instruction.
  std::function<void()> recovery = {};

  /// One turn of another process, every so many steps; 0: one turn after the other, without
  /// waiting. A turn that waits for the traced process does not hold it up.
  std::function<void()> partner = {};
  std::size_t partner_every = 1;

  /// Runs in a process that has fallen asleep in it before the operation begins, and must return by
  /// the end.
  std::function<std::string()> sleeper = {};

  /// Wakes an operation that sleeps, from another process. Kill points are counted from there on:
  /// the first is in the sleep, with the waker coming too late, the second at the wake, before
  /// anything is done about it, and so on.
  std::function<void()> waker = {};

  /// Called in the test process when such an operation has fallen asleep, before the waker begins and
  /// before its first kill point: for what has to be behind it.
  std::function<void()> once_asleep = [] {};

  /// The operation runs at full speed until it has stored to a word (of 8 bytes, in shared memory) so
  /// often, behind its sleep if it has a waker. Kill points are counted from there on, and only so many of
  /// them, or until something holds.
  struct Lead {
    std::function<const void*()> word = {};
    std::size_t stores = 0;
    std::size_t window = 0;            ///< 0: to the end of the operation
    std::function<bool()> until = {};  ///< asked in the test process after each step; must come
  };
  Lead lead = {};

  /// Traced is the first process that the operation forks, from its first instruction to its exit with 0. The
  /// operation runs beside it, and ends by `_exit()`.
  bool follows_fork = false;

  /// The operation falls asleep and nobody wakes it: its last kill point.
  bool blocks = false;

  /// The survivors meet a zombie, instead of a process that is gone.
  bool zombie = false;

  /// Of the turns of one `rep` instruction only one in so many is a kill point.
  std::size_t bulk = 1;

  /// How long anybody may take before it counts as hanging.
  std::chrono::milliseconds patience = std::chrono::seconds(5);

  /// For the scenario; 0: no limit. Kill points that it leaves out are left out evenly, and the
  /// report says so. KIN_CRASH_SECONDS in the environment is an upper limit for each scenario;
  /// KIN_CRASH_FULL lifts the limits that scenarios set themselves, KIN_CRASH_SHARE is how much of them
  /// they may use up. With KIN_CRASH_PART=0/2 every second kill point is left out, and with 1/2 the others:
  /// so two processes share a long one.
  std::chrono::duration<double> budget = std::chrono::seconds(0);
};

/// The counts of a scenario; printed as one line, and one more for each failure.
struct Report {
  std::string name;
  std::string kind;             ///< "killed at every instruction"
  std::size_t kill_points = 0;  ///< rounds in which the operation was not completed
  std::size_t completed = 0;    ///< rounds in which it was
  std::size_t left_out = 0;     ///< kill points that did not fit into the budget
  std::size_t firsts_left_out =
      0;  ///< of the operation before the recovery: not one point of these
  std::map<std::string, std::size_t> outcomes;  ///< how often each of the right ones
  std::vector<std::string> failures;
  std::size_t steps = 0;  ///< single steps of all rounds
  double seconds = 0;

  bool passed() const { return failures.empty(); }
};

std::ostream& operator<<(std::ostream& out, const Report& report);

/// Goes through all kill points. Gives up after a few failures, after the first one that hangs.
///
/// Sharing: one at a time, in one thread. Children that the operation leaves behind are killed
/// after each round.
Report run(const Scenario& scenario);

/// For checks: throws unless it holds. (A CHECK of doctest in a child is lost with the child.)
inline void require(bool holds, const std::string& what) {
  if (!holds) {
    throw std::runtime_error(what);
  }
}

}  // namespace crash
