// SPDX-License-Identifier: BSL-1.0
//
// Barrier. The parties meet in generations: the last to arrive begins the next one, and whoever waits
// for its own generation to be over goes on. All that decides is one word, {generation, how many
// arrived, flags}, changed by one store under the lock; a death between two steps leaves nothing to repair.
//
// Who arrived is written down, for this generation and the one before, so that those who wait can ask
// whether it lives. One that passed the last time and was killed since will not come again.

#include <kin/sync.hpp>

#include "memory/object.hpp"
#include "os/cpu_count.hpp"
#include "os/fork.hpp"
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
#include <unordered_set>

#include <unistd.h>

namespace kin {
namespace {

using namespace detail;

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

constexpr int most_parties = 1 << 20;

/// What the parties agree on, in one word.
struct Meeting {
  static constexpr std::uint8_t is_broken = 1;
  static constexpr std::uint8_t is_acting = 2;  // all are here, and the last one calls the action
  static constexpr std::uint8_t follows_a_pass = 4;

  std::uint32_t generation;
  std::uint32_t arrived : 24;
  std::uint32_t flags : 8;

  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};
static_assert(std::atomic<Meeting>::is_always_lock_free);

enum class Reason : std::uint32_t { none, abort, reset, time_limit, action, death };

/// How a generation ended: passed where `reason` is none. Kept for a while for those who wake late.
struct Ending {
  std::atomic<std::uint32_t> generation;
  std::atomic<Reason> reason;
  std::atomic<pid_t> pid;  // whose death it was, or who did it
};

/// What need not be small.
struct Records {
  std::array<Ending, 16> endings;
  // Behind it: who arrived, of even generations, then of odd ones.
  std::atomic<Stamp>* arrivals(std::uint32_t generation, std::uint32_t parties) {
    auto* first = reinterpret_cast<std::atomic<Stamp>*>(this + 1);
    return first + std::size_t{generation % 2} * parties;
  }
  static std::size_t size_for(std::uint32_t parties) {
    return sizeof(Records) + 2 * std::size_t{parties} * sizeof(Stamp);
  }
};

/// Writers: who holds the lock.
struct BarrierObject : Object {
  RobustLock lock;
  std::uint32_t parties;
  bool may_spin;
  std::chrono::nanoseconds timeout;  // of a wait that has no limit of its own
  // Apart from the lock, as those who wait look at it all the time.
  alignas(64) std::atomic<Meeting> meeting;
  ParkingSpot next_generation;
  Owned<Records> records;
};
static_assert(sizeof(BarrierObject) <= Heap::lock_size);

BarrierObject& barrier_in(Object& object) { return static_cast<BarrierObject&>(object); }

class BarrierGuard : public RobustGuard {
 public:
  explicit BarrierGuard(BarrierObject& barrier) : RobustGuard(barrier.lock, [] {}) {}
};

Ending& ending_of(const BarrierObject& barrier, std::uint32_t generation) {
  auto& endings = barrier.records->endings;
  return endings[generation % endings.size()];
}

// With the lock held. Ends a generation, and begins the next one so.
void begin_next(BarrierObject& barrier, Meeting before, Reason reason, pid_t pid,
                std::uint8_t flags) {
  Ending& ending = ending_of(barrier, before.generation);
  // Written only if it says something else: who passes leaves that cache line with all others.
  if (reason != Reason::none || ending.reason.load(std::memory_order_relaxed) != Reason::none) {
    ending.reason.store(reason, std::memory_order_relaxed);
    ending.pid.store(pid, std::memory_order_relaxed);
    ending.generation.store(before.generation, std::memory_order_relaxed);
  }
  // If killed before this: the generation goes on, and nobody looks at its ending yet.
  // SYNC meeting: publishes the ending; pairs with the load of who waits for another generation.
  barrier.meeting.store({before.generation + 1, 0, flags}, std::memory_order_release);
  // If killed before this: who sleeps sees it at the end of a slice.
  barrier.next_generation.notify_all();
}

// Unless that generation is over by now.
void break_generation(BarrierObject& barrier, std::uint32_t generation, Reason reason, pid_t pid) {
  const BarrierGuard guard(barrier);
  const Meeting now = barrier.meeting.load();
  if (now.generation != generation || now.has(Meeting::is_broken)) return;
  begin_next(barrier, now, reason, pid, Meeting::is_broken);
}

[[noreturn]] void tell_how_it_ended(Reason reason, pid_t pid) {
  std::string text = "the barrier is broken: ";
  const std::string who = pid > 0 ? "process " + std::to_string(pid) : "a process";
  switch (reason) {
    case Reason::abort: text += who + " called abort()"; break;
    case Reason::reset: text += who + " called reset() while others waited"; break;
    case Reason::time_limit: text += who + " waited for the others until its time limit"; break;
    case Reason::action: text += "the action threw an exception in " + who; break;
    case Reason::death: text += who + ", one of its parties, died"; break;
    default: text += "it has to be reset() first"; break;
  }
  throw BrokenBarrierError(text);
}

// ---- the dead

// One that ended by itself and without a failure was done with the barrier.
bool has_failed(Stamp process) {
  const int code = exit_code_of(process);
  // Without a pid: its place was given to another process, and so its death was noticed by its parent.
  return is_gone(process) && code != 0 && pid_of(process) != 0;
}

// One of those who arrived that is gone, and by its going breaks the barrier; 0 if there is none.
pid_t find_dead(const BarrierObject& barrier, Meeting meeting) {
  std::unordered_set<Stamp> seen{this_process()};
  const auto look_at = [&](std::uint32_t generation, std::uint32_t count, auto is_dead) {
    const auto* who = barrier.records->arrivals(generation, barrier.parties);
    for (std::uint32_t i = 0; i < count; ++i) {
      const Stamp process = who[i].load();
      if (process == 0 || !seen.insert(process).second || !is_dead(process)) continue;
      const pid_t pid = pid_of(process);
      return pid != 0 ? pid : -1;
    }
    return 0;
  };
  // A reader that is late may read another generation's: begin_next() is for the one it looked at only.
  const pid_t dead = look_at(meeting.generation, meeting.arrived, is_gone);
  if (dead != 0 || !meeting.has(Meeting::follows_a_pass)) return dead;
  return look_at(meeting.generation - 1, barrier.parties, has_failed);
}

void look_for_the_dead(BarrierObject& barrier, std::uint32_t generation) {
  const Meeting meeting = barrier.meeting.load();
  if (meeting.generation != generation || meeting.has(Meeting::is_broken)) return;
  const pid_t dead = find_dead(barrier, meeting);
  if (dead == 0 || barrier.meeting.load().generation != generation) return;
  break_generation(barrier, generation, Reason::death, dead);
}

// ---- parties

struct Arrival {
  std::uint32_t generation;
  std::uint32_t index;
  bool is_last;
  bool is_early;  // all parties of this generation are here: it has to come again for the next
};

void note_arrival(const BarrierObject& barrier, Meeting meeting) {
  auto* arrivals = barrier.records->arrivals(meeting.generation, barrier.parties);
  auto& place = arrivals[meeting.arrived];
  // As with endings: it may well have been this process two generations ago.
  const Stamp own = this_process();
  if (place.load(std::memory_order_relaxed) != own) place.store(own, std::memory_order_relaxed);
}

Arrival arrive(BarrierObject& barrier, bool has_action) {
  const BarrierGuard guard(barrier);
  Meeting meeting = barrier.meeting.load();
  if (meeting.has(Meeting::is_broken)) {
    const Ending& ending = ending_of(barrier, meeting.generation - 1);
    tell_how_it_ended(ending.reason.load(), ending.pid.load());
  }
  if (meeting.has(Meeting::is_acting)) return {meeting.generation, 0, false, true};
  const Arrival arrival{meeting.generation, meeting.arrived,
                        meeting.arrived + 1U == barrier.parties, false};
  note_arrival(barrier, meeting);
  // If killed before the next store: it has not arrived.
  if (arrival.is_last && !has_action) {
    begin_next(barrier, meeting, Reason::none, 0, Meeting::follows_a_pass);
  } else {
    ++meeting.arrived;
    if (arrival.is_last) meeting.flags |= Meeting::is_acting;
    // SYNC meeting: publishes who arrived, to those who look for the dead.
    barrier.meeting.store(meeting, std::memory_order_release);
  }
  return arrival;
}

// If killed in the action: those who wait see that one who arrived is gone.
void act(BarrierObject& barrier, const Arrival& arrival, const Action& action) {
  try {
    action();
  } catch (...) {
    break_generation(barrier, arrival.generation, Reason::action, ::getpid());
    throw;
  }
  const BarrierGuard guard(barrier);
  const Meeting meeting = barrier.meeting.load();
  if (meeting.generation != arrival.generation) return;  // somebody has broken it meanwhile
  begin_next(barrier, meeting, Reason::none, 0, Meeting::follows_a_pass);
}

void wait_for_next(BarrierObject& barrier, std::uint32_t generation, Deadline deadline) {
  const auto is_over = [&] { return barrier.meeting.load().generation != generation; };
  const auto look_around = [&] {
    look_for_the_dead(barrier, generation);
    if (!is_over()) SoftLimit::check(deadline);
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
    if (!passed) give_up();
  } catch (...) {
    give_up();
    throw;
  }
}

void tell_if_broken(const BarrierObject& barrier, std::uint32_t generation) {
  const Ending& ending = ending_of(barrier, generation);
  if (ending.generation.load() != generation || ending.reason.load() == Reason::none) return;
  tell_how_it_ended(ending.reason.load(), ending.pid.load());
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::barrier, [](Object& object) {
    BarrierObject& barrier = barrier_in(object);
    if (barrier.lock.is_held()) return false;
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
    barrier.may_spin = parties <= usable_cpus();
    barrier.timeout = options.timeout.value_or(std::chrono::nanoseconds::max());
    const std::size_t size = Records::size_for(barrier.parties);
    Heap::allocate_into(barrier.records, size);
    if (Heap::is_run(size)) populate(barrier.records.address(), size);
    for (Ending& ending : barrier.records->endings) ending.reason.store(Reason::none);
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
  BarrierObject& barrier = barrier_in(object());
  const BarrierGuard guard(barrier);
  begin_next(barrier, barrier.meeting.load(), Reason::reset, ::getpid(), 0);
}

void Barrier::abort() const {
  BarrierObject& barrier = barrier_in(object());
  const BarrierGuard guard(barrier);
  // Whichever generation it is by now: one that passes at this moment takes no abort() with it.
  const Meeting now = barrier.meeting.load();
  if (now.has(Meeting::is_broken)) return;
  begin_next(barrier, now, Reason::abort, ::getpid(), Meeting::is_broken);
}

int Barrier::parties() const { return static_cast<int>(barrier_in(object()).parties); }

int Barrier::n_waiting() const {
  return static_cast<int>(barrier_in(object()).meeting.load().arrived);
}

bool Barrier::broken() const { return barrier_in(object()).meeting.load().has(Meeting::is_broken); }

}  // namespace kin
