// SPDX-License-Identifier: BSL-1.0
//
// Condition. Who waits takes a ticket, a number that rises; a notification is one store of the highest
// ticket that is let go: so it is whole or was never made, and those who came later don't get it. Each number
// has a cache line of its own: who has just notified and waits in turn need not take the line from the one that
// it has let go, which is reading it (`bench_sync`, a hand-over).
//
// The list of who waits is for waking who sleeps, and for the dead. Whoever gives up or dies before its
// ticket is let go leaves a gap among the tickets: from then on, until all are let go, notifiers look
// through the list, under a lock.
//
// A waiter keeps its ticket until it holds the user's lock again. If it dies before that, whoever else
// waits finds, between two slices of sleep, a ticket that was let go and whose process is gone, and
// passes it on. If it dies after that, the lock tells: waiters look for that as well.

#include <kin/sync.hpp>

#include "base/thread_id.hpp"
#include "deadlock/waiting.hpp"
#include "memory/object.hpp"
#include "os/fork.hpp"
#include "waiting/parking.hpp"
#include "waiting/pause.hpp"
#include "waiting/robust_lock.hpp"
#include "waiting/soft_limit.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

namespace kin {
namespace {

using namespace detail;

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

using Ticket = std::uint64_t;
constexpr std::size_t everybody = std::numeric_limits<std::size_t>::max();
// Of a ticket that is about to be taken, and may be another's.
constexpr Ticket is_pending = Ticket{1} << 63;

/// One who waits, or a free place. Writers: the process whose it is; when that is gone, who holds the
/// list's lock.
struct Waiter {
  std::atomic<Stamp> process;  // 0: free
  std::atomic<Ticket> ticket;  // 0: none yet, or none any more
  FutexWord wakes;
  std::atomic<std::uint32_t> is_asleep;
  // Nobody else looks at it as long as nobody sleeps: so each has a cache line of its own.
  std::array<std::byte, 40> unused;
};
static_assert(sizeof(Waiter) == 64);

struct WaiterBlock {
  Owned<WaiterBlock> next;
  std::array<Waiter, 15> waiters;
};

/// The tickets up to which all are let go; and whether there are gaps behind it, of those who gave up.
struct LetGo {
  std::uint64_t ticket : 63;
  std::uint64_t has_gaps : 1;
};
static_assert(sizeof(LetGo) == 8 && std::atomic<LetGo>::is_always_lock_free);

/// Writers: who waits takes the next ticket; who notifies lets go. With `list_lock`: who makes a gap,
/// and who notifies where there is one. Each change is one compare-and-swap, so a death leaves nothing
/// to repair.
struct ConditionObject : Object {
  alignas(64) std::atomic<Ticket> last_ticket;
  RobustLock list_lock;
  Owned<WaiterBlock> waiters;
  // Those who wait look at it all the time.
  alignas(64) std::atomic<LetGo> let_go;
  std::atomic<std::uint32_t> sleepers;  // more, if some were killed in their sleep
};
static_assert(sizeof(ConditionObject) <= Heap::lock_size);

ConditionObject& condition_in(Object& object) { return static_cast<ConditionObject&>(object); }

class ListGuard : public RobustGuard {
 public:
  explicit ListGuard(ConditionObject& condition) : RobustGuard(condition.list_lock, [] {}) {}
};

template <typename Visit>
void for_each(const ConditionObject& condition, Visit&& visit) {
  for (WaiterBlock* block = condition.waiters.get(); block != nullptr; block = block->next.get()) {
    // Visitors may write. NOLINTNEXTLINE(misc-const-correctness)
    for (Waiter& waiter : block->waiters) {
      if (waiter.process.load() != 0) visit(waiter);
    }
  }
}

// If killed behind it: a place of this process's without a ticket.
Waiter& take_place(ConditionObject& condition) {
  const Stamp own = this_process();
  // Threads begin in different places, and find their own again.
  const auto first = static_cast<std::size_t>(thread_id());
  Owned<WaiterBlock>* at = &condition.waiters;
  while (true) {
    if (!*at) Heap::allocate_into(*at, sizeof(WaiterBlock));
    auto& waiters = (*at)->waiters;
    for (std::size_t i = 0; i < waiters.size(); ++i) {
      Waiter& waiter = waiters[(first + i) % waiters.size()];
      Stamp nobody = 0;
      if (waiter.process.load(std::memory_order_relaxed) != 0) continue;
      if (waiter.process.compare_exchange_strong(nobody, own)) return waiter;
    }
    at = &(*at)->next;
  }
}

void leave_place(Waiter& waiter) {
  waiter.ticket.store(0, std::memory_order_release);
  // If killed before this: somebody notices.
  waiter.process.store(0, std::memory_order_release);
}

// ---- who waits

Waiter& join(ConditionObject& condition) {
  Waiter& waiter = take_place(condition);
  waiter.is_asleep.store(0, std::memory_order_relaxed);
  Ticket last = condition.last_ticket.load();
  do {
    // Before it is taken, so that no ticket is ever without a place. Relaxed: the swap publishes it.
    waiter.ticket.store((last + 1) | is_pending, std::memory_order_relaxed);
    // If killed behind the swap: somebody notices.
  } while (!condition.last_ticket.compare_exchange_weak(last, last + 1));
  waiter.ticket.store(last + 1, std::memory_order_release);
  return waiter;
}

bool is_let_go(const ConditionObject& condition, Ticket ticket) {
  return (ticket & ~is_pending) <= condition.let_go.load().ticket;
}
bool is_let_go(const ConditionObject& condition, const Waiter& waiter) {
  return is_let_go(condition, waiter.ticket.load(std::memory_order_relaxed));
}

// With the list's lock held: this ticket's holder will not take a notification. False: it has one.
bool leave_gap(ConditionObject& condition, Ticket ticket) {
  LetGo before = condition.let_go.load();
  do {
    if (ticket <= before.ticket) return false;
    // If killed behind it: who notifies looks through the list, and that is all.
  } while (!condition.let_go.compare_exchange_weak(before, {before.ticket, 1}));
  return true;
}

// With the user's lock held again. Whether there was a notification, if that is not known; one that comes
// later is another's.
bool leave(ConditionObject& condition, Waiter& waiter, bool is_notified) {
  if (!is_notified) is_notified = is_let_go(condition, waiter);
  if (!is_notified) {
    const ListGuard guard(condition);
    is_notified = !leave_gap(condition, waiter.ticket.load(std::memory_order_relaxed));
    // Before the list is another's: who looks through it there for whom to let go must not find this one.
    // If killed before this: it is found, and what it is given is passed on.
    if (!is_notified) waiter.ticket.store(0);
  }
  // If killed before this: a notification is passed on, although this process had the lock.
  leave_place(waiter);
  return is_notified;
}

// ---- who notifies

void wake(Waiter& waiter) {
  if (waiter.is_asleep.load() == 0) return;
  waiter.wakes.fetch_add(1);
  futex_wake(waiter.wakes, 1);
}

// Behind the change that let go the tickets from `before` to `now`. If killed before or in it: those who
// sleep see it at the end of their slices.
void wake_those_let_go(const ConditionObject& condition, Ticket before, Ticket now) {
  // SYNC condition: as in sleep().
  if (condition.sleepers.load() == 0) return;
  for_each(condition, [&](Waiter& waiter) {
    const Ticket one = waiter.ticket.load() & ~is_pending;
    if (before < one && one <= now) wake(waiter);
  });
}

// Without a lock: where there are no gaps the tickets tell who waits. False if there are.
bool let_go_next(ConditionObject& condition, bool all) {
  LetGo before = condition.let_go.load();
  Ticket now{};
  do {
    const Ticket last = condition.last_ticket.load();
    if (last == before.ticket) return true;  // nobody waits
    if (before.has_gaps != 0) return false;
    now = all ? last : before.ticket + 1;
  } while (!condition.let_go.compare_exchange_weak(before, {now & ~is_pending, 0}));
  wake_those_let_go(condition, before.ticket, now);
  return true;
}

// With the list's lock held: lets go the `count` who have waited longest. Needs no memory for one, nor for all.
void let_go_first(ConditionObject& condition, std::size_t count) {
  LetGo before = condition.let_go.load();
  LetGo now{};
  do {
    const Ticket last = condition.last_ticket.load();
    std::size_t waiting = 0;
    Ticket lowest = last;
    std::vector<Ticket> tickets;
    for_each(condition, [&](const Waiter& waiter) {
      // One that is pending is above all that is let go, or comes at this moment.
      const Ticket ticket = waiter.ticket.load();
      if (ticket <= before.ticket || last < ticket) return;
      ++waiting;
      lowest = std::min(lowest, ticket);
      if (count != 1 && count != everybody) tickets.push_back(ticket);
    });
    now = {last & ~is_pending, 0};
    if (count < waiting) {
      if (count != 1) {
        const auto at = tickets.begin() + static_cast<std::ptrdiff_t>(count) - 1;
        std::nth_element(tickets.begin(), at, tickets.end());
        lowest = *at;
      }
      now = {lowest & ~is_pending, before.has_gaps};
    }
  } while (!condition.let_go.compare_exchange_weak(before, now));
  wake_those_let_go(condition, before.ticket, now.ticket);
}

// ---- the dead

// With the list's lock held: frees the place of one that will not take a notification. One that it was given
// goes to the next.
void pass_on(ConditionObject& condition, Waiter& waiter) {
  const Ticket ticket = waiter.ticket.load() & ~is_pending;
  if (ticket != 0 && !leave_gap(condition, ticket)) let_go_first(condition, 1);
  // If killed before this: it is passed on once more, and somebody wakes without a cause.
  leave_place(waiter);
}

// Frees their places; a notification that one of them did not live to take goes to the next.
void pass_on_from_the_dead(ConditionObject& condition) {
  const ListGuard guard(condition);
  const Stamp own = this_process();
  Stamp seen = own;
  bool seen_is_gone = false;
  for_each(condition, [&](Waiter& waiter) {
    const Stamp process = waiter.process.load();
    if (process == own || process == 0) return;
    if (process != seen) {
      seen = process;
      seen_is_gone = is_gone(process);
    }
    if (seen_is_gone) pass_on(condition, waiter);
  });
}

/// One more who sleeps or is about to, for a scope.
class Asleep {
 public:
  explicit Asleep(ConditionObject& condition) : sleepers_(condition.sleepers) {
    // If killed behind it: notifiers look for sleepers from then on, and that is all.
    sleepers_.fetch_add(1);
  }
  ~Asleep() { sleepers_.fetch_sub(1); }
  Asleep(const Asleep&) = delete;
  Asleep& operator=(const Asleep&) = delete;

 private:
  std::atomic<std::uint32_t>& sleepers_;
};

enum class End { notified, nothing, lock_was_left };

// Until its ticket is let go, or the time is up, or the lock was left by a dead holder.
End sleep(ConditionObject& condition, Waiter& waiter, Deadline deadline,
          FunctionRef<bool()> is_lock_left) {
  const auto ready = [&] { return is_let_go(condition, waiter); };
  if (ready()) return End::notified;
  if (deadline.is_passed_from_start()) return End::nothing;
  if (spin(ready, deadline, nullptr)) return End::notified;
  Waiting waiting({.kind = WaitKind::notification, .target = target_of(condition)}, deadline);
  const Asleep asleep(condition);
  while (!ready()) {
    if (deadline.has_passed() || SoftLimit::gives_up()) return End::nothing;
    const std::uint32_t wakes = waiter.wakes.load();
    waiter.is_asleep.store(1);
    // SYNC condition: either this sees the ticket let go, or who lets it go sees that this is asleep.
    if (ready()) break;
    if (futex_wait_slice(waiter.wakes, wakes, deadline)) continue;
    waiting.look_around();
    if (is_lock_left()) return End::lock_was_left;
    pass_on_from_the_dead(condition);
  }
  return End::notified;
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::condition, [](Object& object) {
    ConditionObject& condition = condition_in(object);
    if (condition.list_lock.is_held()) return false;
    Heap::free_chain(condition.waiters);
    return true;
  });
  return true;
}();

}  // namespace

Condition::Condition()
    : HandleOf(
          Handle(make_object(ObjectKind::condition, sizeof(ConditionObject), [](Object& object) {
            condition_in(object).list_lock.initialize();
          }))) {}

void Condition::complain_not_held() {
  throw std::logic_error("kin: wait() on a condition with a lock that this thread does not hold");
}

bool Condition::wait_until(const LockHandle& lock, Deadline deadline) const {
  ConditionObject& condition = condition_in(object());
  // Before it takes a ticket, which others would let go for nobody.
  if (!lock.held_by_this_thread()) complain_not_held();
  Waiter& waiter = join(condition);
  // If killed behind this: nobody is told of a death, since nobody holds the lock.
  const auto hold = lock.unlock_all();
  End end{};
  while (true) {
    try {
      end = sleep(condition, waiter, deadline, [&] { return lock.is_left_by_the_dead(); });
    } catch (...) {
      lock.lock_again(hold);
      const ListGuard guard(condition);
      pass_on(condition, waiter);
      throw;
    }
    // Who has let it go most often holds the lock still: an attempt now would only take its cache line.
    pause();
    lock.lock_again(hold);
    if (end != End::lock_was_left || lock.owner_died() || is_let_go(condition, waiter)) break;
    // Another came before, and was told in its place: so it waits on, with the same ticket.
    static_cast<void>(lock.unlock_all());
  }
  if (leave(condition, waiter, end == End::notified) || lock.owner_died()) return true;
  // Not before: as after any wait, the lock is held.
  SoftLimit::check(deadline);
  return false;
}

void Condition::notify(int count) const {
  ConditionObject& condition = condition_in(object());
  if (count < 0) throw std::invalid_argument("kin: notify() of fewer than none");
  if (count == 0 || (count == 1 && let_go_next(condition, false))) return;
  if (condition.last_ticket.load() == condition.let_go.load().ticket) return;
  const ListGuard guard(condition);
  let_go_first(condition, static_cast<std::size_t>(count));
}

void Condition::notify_all() const {
  ConditionObject& condition = condition_in(object());
  if (let_go_next(condition, true)) return;
  const ListGuard guard(condition);
  let_go_first(condition, everybody);
}

}  // namespace kin
