// SPDX-License-Identifier: BSL-1.0
//
// Barrier. The parties meet in generations: the last to arrive begins the next one, and whoever waits
// for its own generation to be over goes on. All that decides is one word, {generation, how many
// arrived, flags}, and each step is one compare-and-swap of it: so a party arrives, and lets the others go
// on, without a lock, and a death leaves nothing to repair. Two that spin pass each other that one cache
// line, and nothing else.
//
// Before it arrives a process notes that it came, in a place of its own: see attendance.hpp. Those who wait
// ask whether all who came live. One that passed the last time and was killed since will not come again.
//
// To break a generation takes a lock: first the word says that it ends, and why; then how it ended is
// written down for those who wake late; then the next one begins. Whoever takes the lock from a dead one,
// or comes to a word that says so, does the rest.

#include <kin/sync.hpp>

#include "deadlock/waiting.hpp"
#include "memory/object.hpp"
#include "os/cpu_count.hpp"
#include "os/fork.hpp"
#include "sync/attendance.hpp"
#include "waiting/parking.hpp"
#include "waiting/robust_lock.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <unistd.h>

namespace kin {
namespace {

using namespace detail;

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

constexpr int most_parties = 1 << 20;

enum class Reason : std::uint8_t { none, abort, reset, time_limit, action, death };

/// What the parties agree on, in one word.
struct Meeting {
  std::uint32_t generation;
  std::uint32_t arrived : 24;
  std::uint32_t is_broken : 1;
  std::uint32_t is_acting : 1;  // all are here, and the last one calls the action
  std::uint32_t follows_a_pass : 1;
  std::uint32_t ends_by : 5;  // a Reason: it is being broken, and nobody may arrive or pass

  [[nodiscard]] bool is_ending() const { return ends_by != 0; }
  [[nodiscard]] Meeting after_pass() const { return {generation + 1, 0, 0, 0, 1, 0}; }
};
static_assert(sizeof(Meeting) == 8 && std::atomic<Meeting>::is_always_lock_free);

/// How a generation ended that was broken. Kept for a while for those who wake late.
struct Ending {
  std::uint32_t generation;
  std::uint32_t reason : 8;  // a Reason; none: no generation's
  std::uint32_t pid : 24;    // whose death it was, or who did it; 0: not known
};
static_assert(sizeof(Ending) == 8 && std::atomic<Ending>::is_always_lock_free);

/// What need not be small.
struct Records {
  std::array<std::atomic<Ending>, 16> endings;
  Attendance attendance;
};

/// Writers: of the meeting whoever arrives; who holds the lock breaks it, and writes the endings.
struct BarrierObject : Object {
  RobustLock lock;
  std::uint32_t parties;
  bool may_spin;
  std::chrono::nanoseconds timeout;  // of a wait that has no limit of its own
  // Apart from the lock, as those who wait look at it all the time.
  alignas(64) std::atomic<Meeting> meeting;
  Owned<Records> records;
  ParkingSpot next_generation;
};
static_assert(sizeof(BarrierObject) <= Heap::lock_size);

BarrierObject& barrier_in(Object& object) { return static_cast<BarrierObject&>(object); }

std::atomic<Ending>& ending_of(const BarrierObject& barrier, std::uint32_t generation) {
  auto& endings = barrier.records->endings;
  return endings[generation % endings.size()];
}

// ---- a generation is broken

// With the lock held: what is left to do when the word says that this generation ends.
void end_generation(BarrierObject& barrier, pid_t pid) {
  const Meeting meeting = barrier.meeting.load();
  if (!meeting.is_ending()) return;
  std::atomic<Ending>& place = ending_of(barrier, meeting.generation);
  const Ending ending = place.load();
  // Who finishes what another began does not know whose pid it was, which may be there.
  if (ending.reason != meeting.ends_by || ending.generation != meeting.generation) {
    place.store({meeting.generation, meeting.ends_by, static_cast<std::uint32_t>(pid) & 0xffffff});
  }
  // If killed before this: the next to have the lock does it.
  const bool is_broken = static_cast<Reason>(meeting.ends_by) != Reason::reset;
  barrier.meeting.store({meeting.generation + 1, 0, is_broken, 0, 0, 0});
  // If killed before this: who sleeps sees it at the end of a slice.
  barrier.next_generation.notify_all();
}

class BarrierGuard : public RobustGuard {
 public:
  explicit BarrierGuard(BarrierObject& barrier)
      : RobustGuard(barrier.lock, [&] { end_generation(barrier, 0); }) {}
};

// Those who broke it may have been killed in it, or be about it.
void help_to_end(BarrierObject& barrier) { const BarrierGuard guard(barrier); }

// Breaks the generation that there is when `is_right` says so of it.
template <typename IsRight>
void break_where(BarrierObject& barrier, Reason reason, pid_t pid, IsRight&& is_right) {
  const BarrierGuard guard(barrier);
  Meeting now = barrier.meeting.load();
  Meeting ending{};
  do {
    if (!is_right(now)) return;
    ending = now;
    ending.ends_by = static_cast<std::uint32_t>(reason) & 31;
    // If killed behind it: the generation is broken. Whoever comes, or has waited a slice, sees to the rest.
  } while (!barrier.meeting.compare_exchange_weak(now, ending));
  end_generation(barrier, pid);
}

// Unless that generation is over by now.
void break_generation(BarrierObject& barrier, std::uint32_t generation, Reason reason, pid_t pid) {
  break_where(barrier, reason, pid,
              [&](Meeting now) { return now.generation == generation && now.is_broken == 0; });
}

[[noreturn]] void tell_how_it_ended(Reason reason, pid_t pid, std::string_view arrived = {}) {
  std::string text = "the barrier is broken: ";
  const std::string who = pid > 0 ? "process " + std::to_string(pid) : "a process";
  switch (reason) {
    case Reason::abort: text += who + " called abort()"; break;
    case Reason::reset: text += who + " called reset() while others waited"; break;
    case Reason::time_limit:
      text += who + " waited for the others until its time limit";
      text += arrived;
      break;
    case Reason::action: text += "the action threw an exception in " + who; break;
    case Reason::death: text += who + ", one of its parties, died"; break;
    default: text += "it has to be reset() first"; break;
  }
  throw BrokenBarrierError(text);
}

// ---- the dead

// One that ended by itself and without a failure was done with the barrier. Asked in this order: the code is
// left before the end.
bool has_failed(Stamp process) { return is_gone(process) && !ended_well(process); }

// One of those who came that is gone, and by its going breaks the barrier; 0 if there is none.
Stamp find_dead(const BarrierObject& barrier, Meeting meeting) {
  const Attendance& attendance = barrier.records->attendance;
  const Stamp dead =
      attendance.find(meeting.generation, [](Stamp process) { return is_gone(process); });
  if (dead != 0 || meeting.follows_a_pass == 0) return dead;
  return attendance.find(meeting.generation - 1, [](Stamp process) { return has_failed(process); });
}

void look_for_the_dead(BarrierObject& barrier, std::uint32_t generation) {
  const Meeting meeting = barrier.meeting.load();
  if (meeting.generation != generation || meeting.is_broken != 0) return;
  if (meeting.is_ending()) return help_to_end(barrier);
  const Stamp dead = find_dead(barrier, meeting);
  if (dead != 0) break_generation(barrier, generation, Reason::death, pid_of(dead));
}

// ---- parties

struct Arrival {
  std::uint32_t generation;
  std::uint32_t index;
  bool is_last;
  bool is_early;  // all parties of this generation are here: it has to come again for the next
};

// Generations are counted in 32 bits, and come again.
void forget_the_past(BarrierObject& barrier, std::uint32_t generation) {
  if (generation % 65536 != 0) return;
  barrier.records->attendance.forget_before(generation - 1);
  for (std::atomic<Ending>& place : barrier.records->endings) {
    Ending ending = place.load();
    const bool is_old = generation - ending.generation > barrier.records->endings.size();
    // Fails when it is written anew at this moment.
    if (is_old && ending.reason != 0) place.compare_exchange_strong(ending, {});
  }
}

Arrival arrive(BarrierObject& barrier, bool has_action) {
  while (true) {
    Meeting meeting = barrier.meeting.load();
    const std::uint32_t generation = meeting.generation;
    if (meeting.is_ending()) {
      help_to_end(barrier);
      continue;
    }
    if (meeting.is_broken != 0) {
      const Ending ending = ending_of(barrier, generation - 1).load();
      tell_how_it_ended(static_cast<Reason>(ending.reason), static_cast<pid_t>(ending.pid));
    }
    if (meeting.is_acting != 0) return {generation, 0, false, true};
    forget_the_past(barrier, generation);
    if (!barrier.records->attendance.note(generation, meeting.arrived == 0)) {
      break_generation(barrier, generation, Reason::death, 0);
      continue;
    }
    const Arrival arrival{generation, meeting.arrived, meeting.arrived + 1U == barrier.parties,
                          false};
    Meeting next = meeting;
    if (arrival.is_last && !has_action) {
      next = meeting.after_pass();
    } else {
      next.arrived = (meeting.arrived + 1U) & 0xffffff;
      next.is_acting = arrival.is_last ? 1 : 0;
    }
    // If killed before this: it has not arrived, but others may see that it came. Behind it: as any party.
    if (!barrier.meeting.compare_exchange_strong(meeting, next)) continue;
    // If killed before this: who sleeps sees it at the end of a slice.
    if (next.generation != generation) barrier.next_generation.notify_all();
    return arrival;
  }
}

// If killed in the action: those who wait see that one who arrived is gone.
void act(BarrierObject& barrier, const Arrival& arrival, const BarrierAction& action) {
  try {
    action.target()();
  } catch (...) {
    break_generation(barrier, arrival.generation, Reason::action, ::getpid());
    throw;
  }
  Meeting meeting = barrier.meeting.load();
  do {
    if (meeting.is_ending()) return help_to_end(barrier);
    if (meeting.generation != arrival.generation) return;  // somebody has broken it meanwhile
  } while (!barrier.meeting.compare_exchange_weak(meeting, meeting.after_pass()));
  barrier.next_generation.notify_all();
}

// "2 of 5 had arrived"
std::string attendance_of(const BarrierObject& barrier) {
  return std::to_string(barrier.meeting.load().arrived) + " of " + std::to_string(barrier.parties) +
         " had arrived";
}

void tell_if_broken(const BarrierObject& barrier, std::uint32_t generation,
                    std::string_view arrived = {}) {
  const Ending ending = ending_of(barrier, generation).load();
  if (ending.generation != generation || ending.reason == 0) return;
  tell_how_it_ended(static_cast<Reason>(ending.reason), static_cast<pid_t>(ending.pid), arrived);
}

void wait_for_next(BarrierObject& barrier, std::uint32_t generation, Deadline deadline) {
  const auto is_over = [&] { return barrier.meeting.load().generation != generation; };
  Waiting waiting({.kind = WaitKind::parties, .target = target_of(barrier)}, deadline);
  const auto look_around = [&] {
    look_for_the_dead(barrier, generation);
    if (is_over()) return;
    SoftLimit::check([&] { return "the other parties of a barrier; " + attendance_of(barrier); });
    waiting.look_around();
  };
  const auto give_up = [&] {
    break_generation(barrier, generation, Reason::time_limit, ::getpid());
  };
  try {
    if (!is_over()) SoftLimit::check(deadline);
    // Where there are more parties than processors, those who spin keep the others from arriving.
    ParkingSpot& spot = barrier.next_generation;
    const bool passed = barrier.may_spin ? spot.wait(is_over, deadline, look_around)
                                         : spot.sleep(is_over, deadline, look_around);
    if (passed) return;
    const std::string arrived = ", and " + attendance_of(barrier);
    give_up();
    tell_if_broken(barrier, generation, arrived);
  } catch (...) {
    give_up();
    throw;
  }
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::barrier, [](Object& object) {
    BarrierObject& barrier = barrier_in(object);
    if (barrier.lock.is_held()) return false;
    if (barrier.records) barrier.records->attendance.free();
    Heap::free_from(barrier.records);
    return true;
  });
  return true;
}();

Handle make_barrier(const BarrierOptions& options, int parties) {
  if (parties < 1 || parties > most_parties) {
    throw std::invalid_argument("kin: a barrier has 1 to 2^20 parties, not " +
                                std::to_string(parties));
  }
  return Handle(make_object(ObjectKind::barrier, sizeof(BarrierObject), [&](Object& object) {
    BarrierObject& barrier = barrier_in(object);
    barrier.lock.initialize();
    barrier.parties = static_cast<std::uint32_t>(parties);
    barrier.meeting.store({1, 0, 0, 0, 0, 0});  // 0 is when the past is forgotten
    barrier.may_spin = parties <= usable_cpus();
    barrier.timeout = options.timeout.value_or(std::chrono::nanoseconds::max());
    Heap::allocate_into(barrier.records, sizeof(Records));
    // Its children are likely to find room there too.
    barrier.records->attendance.make_room(this_process());
  }));
}

}  // namespace

Barrier::Barrier(BarrierOptions options, int parties) : HandleOf(make_barrier(options, parties)) {}

std::size_t Barrier::wait() const {
  return wait_until(Deadline::after(barrier_in(object()).timeout));
}

std::size_t Barrier::wait_until(Deadline deadline) const {
  BarrierObject& barrier = barrier_in(object());
  Arrival arrival{};
  do {
    arrival = arrive(barrier, static_cast<bool>(action_));
    if (arrival.is_last) {
      if (action_) act(barrier, arrival, action_);
    } else {
      wait_for_next(barrier, arrival.generation, deadline);
    }
    tell_if_broken(barrier, arrival.generation);
  } while (arrival.is_early);
  return arrival.index;
}

void Barrier::reset() const {
  break_where(barrier_in(object()), Reason::reset, ::getpid(), [](Meeting) { return true; });
}

void Barrier::abort() const {
  // Whichever generation it is by now: one that passes at this moment takes no abort() with it.
  break_where(barrier_in(object()), Reason::abort, ::getpid(),
              [](Meeting now) { return now.is_broken == 0; });
}

int Barrier::parties() const { return static_cast<int>(barrier_in(object()).parties); }

int Barrier::n_waiting() const {
  return static_cast<int>(barrier_in(object()).meeting.load().arrived);
}

bool Barrier::broken() const { return barrier_in(object()).meeting.load().is_broken != 0; }

}  // namespace kin
