// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/heap.hpp"
#include "waiting/robust_lock.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace kin::detail {

/// Names one life of one process: {generation : 32, slot : 16, 1}. Never 0, never used twice (until a
/// slot has had 2^32 lives). What belongs to a process in shared memory is stamped with it.
using Stamp = std::uint64_t;
constexpr Stamp make_stamp(std::uint64_t generation, std::size_t slot) {
  return (generation << 32) | (static_cast<std::uint64_t>(slot) << 1) | 1;
}
constexpr std::uint64_t generation_of(Stamp stamp) { return stamp >> 32; }
constexpr std::size_t slot_of(Stamp stamp) { return (stamp & 0xffffffff) >> 1; }

/// What a process is called that nobody gave a name.
inline constexpr std::string_view main_process_name = "MainProcess";

struct Object;

/// A block of the list of objects that a process has claims on; see ProcessSlot::claims.
struct ClaimBlock {
  static constexpr std::size_t size = 62;
  Owned<ClaimBlock> next;
  std::array<Owned<Object>, size> entries;
};

/// Objects whose last claim is gone. Guarded by the sweep lock; see memory/object.hpp.
struct Graveyard {
  // A list through Object::next_in_limbo, and the object on its way into it.
  std::atomic<Object*> limbo;
  std::atomic<Object*> entering;
  // The claim that is being given up: intent of leave() in object.cpp.
  std::atomic<Object*> leaving;
  std::atomic<Owned<Object>*> leaving_entry;
  std::atomic<std::atomic<Stamp>*> leaving_cell;
  std::atomic<Stamp> leaving_stamp;
  Owned<Object> no_entry;  // for claims that no process lists: a cargo's
  // The object that is being destroyed; owns its block.
  Owned<Object> retiring;
};

/// What the family knows of one process.
/// Writers: the process itself; its parent before it runs; after its death the sweep, and who takes the slot.
struct ProcessSlot {
  enum class State : std::uint64_t { free = 0, reserved = 1, live = 2 };
  static constexpr int no_exit_code = -1000;
  static constexpr std::size_t name_size = 64;
  static constexpr std::size_t most_ancestors = 7;

  // {generation : 32, pid, or the reserver's slot : 30, state : 2}. A process comes and goes by one store.
  std::atomic<std::uint64_t> life;
  // When it was born, in births of the family; given by the parent before it forks, so that whoever
  // may have inherited a handle counts as alive from before the fork on.
  std::atomic<std::uint64_t> birth;
  // The same of the processes it descends from, the nearest first, 0 behind the last: it has the
  // handles that these inherited. Of those before the ones that have a place here only the first.
  std::array<std::atomic<std::uint64_t>, most_ancestors> ancestors;
  std::atomic<std::uint64_t> first_ancestor;
  std::atomic<std::uint64_t> start_time;  // as in /proc/PID/stat; tells a pid used again
  std::atomic<std::int32_t> exit_code;    // left before the end, for who can't ask the kernel
  // How those ended who had the slot before, {the last one's generation : 32, a bit for each of the last 32,
  // the last one's being the lowest : 32}: set where it left another exit code than 0, or none. Of those before
  // them the generation of the last whose bit was set.
  std::atomic<std::uint64_t> failures;
  std::atomic<std::uint64_t> last_failure;
  std::array<std::atomic<char>, name_size> name;
  // The objects that this process has cells in, or is about to, or had a moment ago: where the sweep
  // looks. The list is the process's own, under a lock of its own; the cells are the truth.
  Owned<ClaimBlock> claims;
  // The object that it is making and that nobody else can know yet.
  Owned<Object> newborn;
};

/// All processes of the family, and what happens when one dies.
///
/// Death is what the kernel says, never a time-out and never a mark: a stopped process lives. Whoever
/// notices that a process is gone calls sweep(), which takes away what belonged to it.
struct ProcessTable {
  static constexpr std::size_t most = 4096;

  std::array<ProcessSlot, most> slots;
  std::atomic<std::uint64_t> births;
  std::atomic<std::uint32_t> slots_used;  // from here on no slot was ever taken
  std::atomic<std::uint32_t> next_check;  // which to look at when a process is born

  // Guards the end of processes and objects: sweeps, and what memory/object.hpp keeps in `graveyard`.
  RobustLock sweep_lock;
  Graveyard graveyard;

  void initialize();
};

/// This process's stamp. Throws SystemError where it has none: no free slot, another pid namespace.
Stamp this_process();
/// The same, 0 instead of an exception.
Stamp this_process_or_none() noexcept;

class SweepGuard;

/// Takes a slot for a child that is about to be forked; returns its stamp, 0 when all are taken.
Stamp reserve_slot() noexcept;
/// In the child, first of all: `reserved` becomes its slot. Without one it is refused, for good: what it
/// inherited may be gone.
void adopt_slot(Stamp reserved) noexcept;
/// In the parent, when fork() failed.
void cancel_slot(Stamp reserved) noexcept;

/// Whether the process that `stamp` names is gone, by the kernel's word. A zombie is gone.
bool is_gone(Stamp stamp);
/// The pid that belongs to the stamp, 0 when another process has its slot by now.
pid_t pid_of(Stamp stamp) noexcept;
/// Its name as far as it fits, empty when another process has its slot by now.
std::string name_of(Stamp stamp);
void set_process_name(Stamp stamp, std::string_view name) noexcept;

/// What it left as its exit code, ProcessSlot::no_exit_code when nothing, or when the slot has another
/// process by now.
int exit_code_of(Stamp stamp) noexcept;
void leave_exit_code(int code) noexcept;
/// Whether a process that is gone had left 0 as its exit code; also when the slot has another process by now.
/// False where it is not known any more: of one whose slot 32 others have had since, and one of them did not.
bool ended_well(Stamp stamp) noexcept;

/// Takes away what belonged to a process that is gone. May be called by anyone, any number of times;
/// if the sweeper is killed, the next sweep goes on where it was.
void sweep(Stamp stamp);
/// Sweeps it if it is gone; tells whether it is.
bool sweep_if_gone(Stamp stamp);
/// Sweeps a few slots whose processes no longer exist: orphans, that no parent reaps; in the long
/// run zombies too. Part of every fork, so it waits for nobody: where another process is sweeping,
/// or was stopped in it, it does not.
void sweep_some();

/// Whether the sweep of that process has come so far that what it kept alive may be gone. With the sweep
/// lock held: what it keeps alive stays until the guard is gone if this is false.
bool was_swept(Stamp stamp, const SweepGuard& guard) noexcept;
/// The same for destroyers, which run under that lock.
bool was_swept_while_destroying(Stamp stamp) noexcept;

/// Whether a process lives, or is being born, that was forked after `made` and not after `released`.
bool heir_lives(std::uint64_t made, std::uint64_t released);

/// Holds the sweep lock for a scope, with what a killed holder left undone brought to its end.
class SweepGuard : public RobustGuard {
 public:
  SweepGuard();
  /// Does not wait for the lock; holds() tells.
  explicit SweepGuard(std::try_to_lock_t);
};

}  // namespace kin::detail
