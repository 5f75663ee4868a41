// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "bystander.hpp"
#include "shared_page.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <sched.h>
#include <sys/types.h>

namespace crash {

/// A forked child that this process drives through one operation, an instruction at a time.
///
///     crash::Stepper victim([&] { queue.put(42); });
///     {
///         crash::Stepper::CloseUp watching(victim);
///         for (int i = 0; i != 100; ++i) victim.step();
///     }
///     victim.kill();  // after exactly 100 instructions
///
/// It stands before the first instruction of the operation when the constructor returns.
///
/// Lifetime: killed and reaped by the destructor. Dies with the test process, even while stopped.
/// Sharing: parent-only, and only in the thread that made it: a tracer is a thread.
/// Throws: std::system_error where the kernel refuses to trace.
class Stepper {
 public:
  enum class State {
    stepping,  ///< stands before an instruction of the operation
    asleep,    ///< blocked in a system call; the next step() goes on waiting for it
    running,   ///< for long, towards a mark; the next run_to_mark() goes on waiting for it
    finished,  ///< the operation has returned or thrown
    dead,      ///< ended by itself, in the middle of the operation
  };

  /// What can be seen of the child between two instructions, apart from shared memory.
  struct Glance {
    std::array<std::uintptr_t, 3> robust_list{};  ///< the thread's: next, offset, pending
    bool before_system_call = false;
  };

  /// While it lives steps are fast, both processes on one core, and step() notices a child that
  /// falls asleep.
  class CloseUp {
   public:
    explicit CloseUp(const Stepper& stepper);
    CloseUp(const CloseUp&) = delete;
    CloseUp& operator=(const CloseUp&) = delete;
    ~CloseUp();

   private:
    struct Heartbeat;
    pid_t child_;
    cpu_set_t cpus_;
    std::unique_ptr<Heartbeat> heartbeat_;
  };

  enum class Whom {
    child,            ///< the one that runs the operation
    forked_by_child,  ///< the first process that that one forks; the child runs beside it, untraced
  };

  explicit Stepper(const std::function<void()>& operation, Whom whom = Whom::child);
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;
  ~Stepper();

  pid_t pid() const { return pid_; }
  State state() const { return state_; }

  /// Executes one instruction, or one turn of a `rep` instruction. Waits while the child is asleep
  /// only until that is certain. Needs a CloseUp.
  State step();

  /// Executes whatever comes before the next system call, at full speed. Needs a CloseUp.
  State run_to_system_call();

  /// Executes whatever comes up to a store of its own to a word of 8 bytes, at full speed where the
  /// processor can watch a word. The same word again and again; nullptr ends it, and executes nothing.
  /// Needs a CloseUp.
  State run_to_store(const void* word);

  /// Marks the instruction at `place`, and the end of the operation. False where the processor can't stop
  /// at a mark at full speed.
  bool set_mark(std::uintptr_t place);
  void clear_mark();
  /// Executes whatever comes before the marked instruction, at full speed; behind it, if it stopped there
  /// already. Needs a CloseUp.
  State run_to_mark();

  /// The address of the next instruction; of a killed or stopped child, where that met it.
  std::uintptr_t program_counter() const;

  Glance glance() const;

  /// Kills it with SIGKILL where it stands; it is dead afterwards, but a zombie until reap().
  void kill();
  void reap();

  /// Stops it where it stands, with SIGSTOP and no longer traced.
  void stop();

  /// Lets a stopped one go on; true when it has ended by the deadline, state() and failure() say how.
  bool ends_by(Clock::time_point deadline);

  /// What went wrong in the child by itself: an exception of the operation, a signal it died of.
  /// Empty if nothing.
  std::string failure() const;

 private:
  struct Note {
    std::atomic<bool> begun;
    std::atomic<bool> finished;
    std::atomic<bool> threw;
    std::array<char, 1000> text;
  };

  SharedPage<Note> note_;
  pid_t tracer_;
  pid_t pid_;
  bool has_left_operation_ =
      false;  // it is one that the child has forked: over when it exits with 0
  State state_ = State::stepping;
  std::uintptr_t robust_list_ = 0;
  std::uintptr_t last_seen_ = 0;
  int signal_ = 0;          ///< for the child, to be handed on with its next instruction
  bool in_flight_ = false;  ///< told to step and not seen to stand since
  bool reaped_ = false;
  int status_ = 0;

  [[noreturn]] void run_child(const std::function<void()>& operation) const;
  void take_charge();
  void follow_fork();
  void resume(int request);
  State advance(int request);
  void note_place();
  State stands(int status);
};

/// The status of one child, waited for through signals.
int wait_for(pid_t pid, int flags);

}  // namespace crash
