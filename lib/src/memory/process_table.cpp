// SPDX-License-Identifier: BSL-1.0
//
// The table of processes: births, deaths, and the sweep between them.
//
// A slot goes free → reserved (by the parent, before it forks) → live (by the child, first of all) →
// free (by the sweep). Each step is one compare-and-swap of the life word.
//
// A slot that is reserved names the slot of whoever reserved it. If that one dies before it knows of a child,
// its sweep frees what it reserved, and its own slot last: so nobody else is taken for the reserver.

#include "memory/process_table.hpp"

#include "memory/object.hpp"
#include "memory/wait_table.hpp"

#include "base/fork_lock.hpp"
#include "base/immortal.hpp"
#include "base/process_stat.hpp"
#include "base/syscall.hpp"

#include <kin/unique_fd.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <span>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {
namespace {

using State = ProcessSlot::State;

constexpr std::uint64_t life_word(std::uint64_t generation, pid_t pid, State state) {
  return (generation << 32) | (static_cast<std::uint64_t>(pid) << 2) |
         static_cast<std::uint64_t>(state);
}
constexpr std::uint64_t generation_in(std::uint64_t life) { return life >> 32; }
constexpr pid_t pid_in(std::uint64_t life) { return static_cast<pid_t>((life & 0xffffffff) >> 2); }
// Of one that is reserved: the slot of whoever reserved it.
constexpr std::size_t reserver_in(std::uint64_t life) {
  return static_cast<std::size_t>(pid_in(life));
}
constexpr State state_in(std::uint64_t life) { return static_cast<State>(life & 3); }

// The birth of one that is no heir of anything.
constexpr std::uint64_t never_born = UINT64_MAX;

ProcessTable& table() { return *arena().processes; }
ProcessSlot& slot(Stamp stamp) { return table().slots[slot_of(stamp)]; }

// Private to each process; a child gets its own in adopt_slot().
std::atomic<Stamp> own_stamp{0};
// Why this process is no member of the family, nor will its children be: EXDEV, it is in another pid
// namespace; EAGAIN, it got no slot when it was born, so nobody would count it as an heir of what it
// inherited. 0 for members, and for who has not asked yet.
int refusal = 0;

// Whether this process, born into the family, sees other pids than it: its parent unshared or joined
// another namespace. There its parent has no pid, and it may be number 1 itself.
bool in_another_pid_namespace() noexcept { return ::getppid() == 0 || ::getpid() == 1; }

UniqueFd open_process(pid_t pid) noexcept {
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

// Whom it descends from, written before its birth is. If killed in between there is no child.
void note_ancestors(ProcessSlot& child, const ProcessSlot& parent) noexcept {
  std::uint64_t next = parent.birth.load();
  for (std::size_t i = 0; i < ProcessSlot::most_ancestors; ++i) {
    child.ancestors[i].store(next);
    next = parent.ancestors[i].load();
  }
  const std::uint64_t first = parent.first_ancestor.load();
  child.first_ancestor.store(first != 0 ? first : next);
}

void note_no_ancestors(ProcessSlot& one) noexcept {
  for (auto& birth : one.ancestors) birth.store(0);
  one.first_ancestor.store(0);
}

constexpr std::uint64_t lives_told = 32;  // of ProcessSlot::failures

// How the life ended that a free slot had, before it gets another. Of those who do so at the same time one
// succeeds: what the others have read may be of the next life.
void note_end(ProcessSlot& one, std::uint64_t life) noexcept {
  std::uint64_t before = one.failures.load();
  const std::uint64_t last = generation_in(before);
  // It is there, or there was no life yet; or the slot is another's already.
  if (((last + 1) & 0xffffffff) != generation_in(life)) return;
  if ((before >> (lives_told - 1) & 1) != 0) {
    const std::uint64_t forgotten = last - (lives_told - 1);
    std::uint64_t known = one.last_failure.load();
    while (known < forgotten && !one.last_failure.compare_exchange_weak(known, forgotten)) {
    }
  }
  const std::uint64_t failed = one.exit_code.load() != 0 ? 1 : 0;
  // If killed before this: the next to take the slot does it again. Behind it: it finds that it was done.
  one.failures.compare_exchange_strong(
      before, (generation_in(life) << 32) | ((before << 1) & 0xffffffff) | failed);
}

// Finds a free slot and makes it `state`; 0 when there is none. `parent` is null for the first of the
// family, and for who does not know.
Stamp take_slot(pid_t pid, State state, std::uint64_t birth, const ProcessSlot* parent) noexcept {
  ProcessTable& all = table();
  for (std::size_t at = 0; at < ProcessTable::most; ++at) {
    // Before the slot is taken, so that whoever looks for heirs looks here too.
    std::uint32_t used = all.slots_used.load();
    while (used <= at &&
           !all.slots_used.compare_exchange_weak(used, static_cast<std::uint32_t>(at + 1))) {
    }
    ProcessSlot& one = all.slots[at];
    std::uint64_t life = one.life.load();
    if (state_in(life) != State::free) continue;
    note_end(one, life);
    const std::uint64_t generation = (generation_in(life) + 1) & 0xffffffff;
    // If killed behind this, before the birth is stored: nobody was born.
    if (!one.life.compare_exchange_strong(life, life_word(generation, pid, state))) continue;
    if (parent != nullptr) {
      note_ancestors(one, *parent);
    } else {
      note_no_ancestors(one);
    }
    one.exit_code.store(ProcessSlot::no_exit_code);
    one.start_time.store(0);
    one.name[0].store('\0');
    one.birth.store(birth);
    return make_stamp(generation, at);
  }
  return 0;
}

void settle_in(Stamp stamp) noexcept {
  slot(stamp).start_time.store(process_stat(::getpid()).start_time);
  set_process_name(stamp, main_process_name);
  own_stamp.store(stamp);
}

// Held by a thread that makes this process a member of its family.
ForkLock& first_use() {
  static Immortal<ForkLock> lock;
  return *lock;
}

[[maybe_unused]] const bool first_use_is_made = made_at_load(first_use);

}  // namespace

void ProcessTable::initialize() { sweep_lock.initialize(); }

Stamp this_process_or_none() noexcept { return own_stamp.load(std::memory_order_relaxed); }

Stamp this_process() {
  if (const Stamp stamp = this_process_or_none(); stamp != 0) return stamp;
  ProcessTable& all = table();
  if (refusal == EXDEV) {
    throw SystemError("kin: a process in another pid namespace than its family", EXDEV);
  }
  if (refusal != 0) throw SystemError("kin: no free process slot at its birth", refusal);
  // The first of the family, which made the arena.
  const std::scoped_lock lock(first_use());
  if (own_stamp.load() == 0) {
    sweep_some();
    const Stamp stamp = take_slot(::getpid(), State::live, all.births.fetch_add(1) + 1, nullptr);
    if (stamp == 0) throw SystemError("kin: no free process slot", EAGAIN);
    settle_in(stamp);
  }
  return own_stamp.load();
}

Stamp reserve_slot() noexcept {
  const Stamp own = this_process_or_none();
  if (own == 0) return 0;  // it is refused, and so its children are; or all slots are taken
  return take_slot(static_cast<pid_t>(slot_of(own)), State::reserved,
                   table().births.fetch_add(1) + 1, &slot(own));
}

void adopt_slot(Stamp reserved) noexcept {
  const bool parent_is_member = own_stamp.exchange(0) != 0;
  forget_claims_of_parent();
  if (in_another_pid_namespace()) refusal = EXDEV;
  if (!parent_is_member || refusal != 0) return;
  refusal = EAGAIN;
  if (reserved == 0) return;
  ProcessSlot& own = slot(reserved);
  std::uint64_t life = own.life.load();
  if (state_in(life) != State::reserved || generation_in(life) != generation_of(reserved)) return;
  if (own.life.compare_exchange_strong(
          life, life_word(generation_of(reserved), ::getpid(), State::live))) {
    refusal = 0;
    settle_in(reserved);
  }
}

void cancel_slot(Stamp reserved) noexcept {
  if (reserved == 0) return;
  ProcessSlot& one = slot(reserved);
  std::uint64_t life = one.life.load();
  if (state_in(life) == State::reserved && generation_in(life) == generation_of(reserved)) {
    one.birth.store(0);
    one.life.compare_exchange_strong(life, life_word(generation_of(reserved), 0, State::free));
  }
}

bool is_gone(Stamp stamp) {
  if (stamp == this_process_or_none()) return false;
  const std::uint64_t life = slot(stamp).life.load();
  if (generation_in(life) != generation_of(stamp) || state_in(life) == State::free) return true;
  if (state_in(life) == State::reserved) return false;  // see free_reserved_by()
  const pid_t pid = pid_in(life);
  const UniqueFd process = open_process(pid);
  // ESRCH: no such process. EINVAL, ENOENT: the number is a thread's of another one by now.
  if (!process) return errno == ESRCH || errno == EINVAL || errno == ENOENT;
  // What can't be read proves nothing: there may be no descriptor left, or no /proc here.
  const std::uint64_t born = slot(stamp).start_time.load();
  const std::uint64_t there = born == 0 ? 0 : process_stat(pid).start_time;
  if (there != 0 && there != born) return true;
  // Readable when the process is a zombie without other threads, or was reaped.
  pollfd about{process.get(), POLLIN, 0};
  return ::poll(&about, 1, 0) > 0;
}

pid_t pid_of(Stamp stamp) noexcept {
  const std::uint64_t life = slot(stamp).life.load();
  if (state_in(life) == State::reserved) return 0;
  return generation_in(life) == generation_of(stamp) ? pid_in(life) : 0;
}

std::string name_of(Stamp stamp) {
  std::string name;
  for (const auto& letter : slot(stamp).name) {
    const char one = letter.load(std::memory_order_relaxed);
    if (one == '\0') break;
    name += one;
  }
  return generation_in(slot(stamp).life.load()) == generation_of(stamp) ? name : std::string();
}

void set_process_name(Stamp stamp, std::string_view name) noexcept {
  if (stamp == 0) return;
  auto& letters = slot(stamp).name;
  const std::size_t length = std::min(name.size(), letters.size() - 1);
  for (std::size_t i = 0; i < length; ++i) letters[i].store(name[i], std::memory_order_relaxed);
  letters[length].store('\0');
}

int exit_code_of(Stamp stamp) noexcept {
  const int code = slot(stamp).exit_code.load();
  // Read before the life word, which the next user of the slot changes first.
  return generation_in(slot(stamp).life.load()) == generation_of(stamp) ? code
                                                                        : ProcessSlot::no_exit_code;
}

bool ended_well(Stamp stamp) noexcept {
  const ProcessSlot& one = slot(stamp);
  const std::uint64_t generation = generation_of(stamp);
  const int code = one.exit_code.load();
  if (generation_in(one.life.load()) == generation) return code == 0;
  // Noted before the slot was taken.
  const std::uint64_t failures = one.failures.load();
  const std::uint64_t age = generation_in(failures) - generation;
  if (age < lives_told) return (failures >> age & 1) == 0;
  return one.last_failure.load() < generation;
}

void leave_exit_code(int code) noexcept {
  if (const Stamp own = this_process_or_none(); own != 0) slot(own).exit_code.store(code);
}

SweepGuard::SweepGuard() : RobustGuard(table().sweep_lock, [] { recover_graveyard(); }) {}

SweepGuard::SweepGuard(std::try_to_lock_t attempt)
    : RobustGuard(attempt, table().sweep_lock, [] { recover_graveyard(); }) {}

namespace {

// Whether there is a process of the family that has not moved into its slot: forked a moment ago, or
// stopped there. Nobody but the kernel knows; so this looks at every process's mappings.
bool unsettled_kin_lives() {
  const std::span slots(table().slots.data(), table().slots_used.load());
  const auto is_settled = [&](pid_t pid) {
    return std::ranges::any_of(slots, [&](const ProcessSlot& one) {
      const std::uint64_t life = one.life.load();
      return state_in(life) == State::live && pid_in(life) == pid;
    });
  };
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", failed)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    std::from_chars(name.data(), name.data() + name.size(), pid);
    if (pid != 0 && !is_settled(pid) && maps_arena(entry.path())) return true;
  }
  return static_cast<bool>(failed);  // can't tell: somebody may
}

// Frees the slots that a process reserved for children, and died, so that nobody knows whether there
// is a child; or for forks of other code's that failed. False: there may be a child that has not moved in.
// With the sweep lock held.
bool free_reserved_by(std::size_t parent) {
  for (ProcessSlot& one : std::span(table().slots.data(), table().slots_used.load())) {
    std::uint64_t life = one.life.load();
    if (state_in(life) != State::reserved || reserver_in(life) != parent) continue;
    if (unsettled_kin_lives()) return false;
    one.birth.store(0);
    // If killed here: the next sweep of the reserver frees it.
    one.life.compare_exchange_strong(life, life_word(generation_in(life), 0, State::free));
  }
  return true;
}

void sweep_with(const SweepGuard& guard, Stamp stamp) {
  ProcessSlot& dead = slot(stamp);
  std::uint64_t life = dead.life.load();
  if (generation_in(life) != generation_of(stamp) || state_in(life) == State::free) return;
  // What it was doing in the heap refers to places that are about to be freed.
  Heap::recover();
  // Before its claims go: what a wait names exists as long as the wait is told.
  forget_waits_of(stamp);
  drop_claims_of(dead, stamp, guard);
  // Nobody's heir, though its slot may have to stay.
  dead.birth.store(never_born);
  // If killed before this: the next sweep finds less to do. Behind it: limbo waits for another's end.
  // The generation stays, for who still asks after the exit code. Where it can't be told whether there is a
  // child, sweep_some() comes by again.
  if (free_reserved_by(slot_of(stamp))) {
    dead.life.compare_exchange_strong(life,
                                      life_word(generation_of(stamp), pid_in(life), State::free));
  }
  visit_limbo(guard);
}

}  // namespace

void sweep(Stamp stamp) {
  sweep_with(SweepGuard(), stamp);
  tell_of_left_locks();
}

bool sweep_if_gone(Stamp stamp) {
  if (!is_gone(stamp)) return false;
  sweep(stamp);
  return true;
}

void sweep_some() {
  constexpr std::uint32_t at_a_time = 8;
  ProcessTable& all = table();
  const std::uint32_t first = all.next_check.fetch_add(at_a_time);
  const std::uint32_t used = all.slots_used.load();
  for (std::uint32_t look = first; look != first + std::min(at_a_time, used); ++look) {
    const std::size_t at = look % used;
    const std::uint64_t life = all.slots[at].life.load();
    const Stamp stamp = make_stamp(generation_in(life), at);
    if (state_in(life) != State::live) continue;
    // The cheap question most of the time, whether there is such a process. There is where nobody
    // reaps it, or its number is used again: so every eighth time round the whole question.
    const bool looks_gone = ::getpgid(pid_in(life)) == -1 && errno == ESRCH;
    const bool is_thorough = look / used % 8 == 0;
    if (!looks_gone && !(is_thorough && is_gone(stamp))) continue;
    const SweepGuard guard(std::try_to_lock);
    if (guard.holds()) sweep_with(guard, stamp);
  }
}

bool was_swept_while_destroying(Stamp stamp) noexcept {
  const ProcessSlot& one = slot(stamp);
  const std::uint64_t life = one.life.load();
  return generation_in(life) != generation_of(stamp) || state_in(life) == State::free ||
         one.birth.load() == never_born;
}

bool was_swept(Stamp stamp, const SweepGuard& /*guard*/) noexcept {
  return was_swept_while_destroying(stamp);
}

namespace {

// Whether that process may have a handle of an object that was made and released then: it, or one that
// it descends from, was born in between.
bool is_heir(const ProcessSlot& one, std::uint64_t made, std::uint64_t released) {
  const auto inherits = [&](std::uint64_t birth) { return made < birth && birth <= released; };
  const std::uint64_t birth = one.birth.load();
  if (birth == never_born) return false;
  if (birth == 0 || inherits(birth)) return true;
  const auto is_so = [&](const auto& ancestor) { return inherits(ancestor.load()); };
  if (std::ranges::any_of(one.ancestors, is_so)) return true;
  // Of those between the first and the last of these nothing is known.
  const std::uint64_t first = one.first_ancestor.load();
  return first != 0 && made < one.ancestors.back().load() && first <= released;
}

}  // namespace

bool heir_lives(std::uint64_t made, std::uint64_t released) {
  if (made == released) return false;  // nobody was born meanwhile
  const std::span slots(table().slots.data(), table().slots_used.load());
  return std::ranges::any_of(slots, [&](const ProcessSlot& one) {
    return state_in(one.life.load()) != State::free && is_heir(one, made, released);
  });
}

}  // namespace kin::detail
