// SPDX-License-Identifier: BSL-1.0
//
// Condition. Who waits takes a ticket, a number that rises; a notification is one store of the highest
// ticket that is let go: so it is whole or was never made, and those who came later don't get it. The
// list of who waits is for finding that ticket, and for waking its holders.
//
// A waiter keeps its ticket until it holds the user's lock again. If it dies before that, whoever else
// waits finds, between two slices of sleep, a ticket that was let go and whose process is gone, and
// passes it on. If it dies after that, the lock tells: waiters look for that as well.

#include <kin/sync.hpp>

#include "deadlock/waiting.hpp"
#include "memory/object.hpp"
#include "os/fork.hpp"
#include "waiting/parking.hpp"
#include "waiting/robust_lock.hpp"
#include "waiting/soft_limit.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

namespace kin {
namespace {

using namespace detail;

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

/// One who waits, or a free place. Writers: with the list's lock, whoever takes it or frees it; without
/// it the waiter itself, of a ticket that was let go.
struct Waiter {
  std::atomic<std::uint64_t> ticket;  // 0: free
  std::atomic<Stamp> process;
  FutexWord wakes;
  std::atomic<std::uint32_t> is_asleep;
};

struct WaiterBlock {
  Owned<WaiterBlock> next;
  std::array<Waiter, 21> waiters;
};

/// Writers: who holds `list_lock`, except for what Waiter says. Each change is one store, so a death
/// leaves nothing to repair.
struct ConditionObject : Object {
  RobustLock list_lock;
  std::atomic<std::uint64_t> last_ticket;
  Owned<WaiterBlock> waiters;
  // All tickets up to this one. Apart from the lock, as those who wait look at it all the time.
  alignas(64) std::atomic<std::uint64_t> let_go;
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
    for (Waiter& waiter : block->waiters) {
      if (waiter.ticket.load() != 0) visit(waiter);
    }
  }
}

Waiter& free_place(ConditionObject& condition) {
  Owned<WaiterBlock>* at = &condition.waiters;
  while (true) {
    if (!*at) Heap::allocate_into(*at, sizeof(WaiterBlock));
    for (Waiter& waiter : (*at)->waiters) {
      if (waiter.ticket.load() == 0) return waiter;
    }
    at = &(*at)->next;
  }
}

// ---- who waits

Waiter& join(ConditionObject& condition) {
  const ListGuard guard(condition);
  Waiter& waiter = free_place(condition);
  const std::uint64_t ticket = condition.last_ticket.load() + 1;
  // Relaxed: for who holds the lock. A store is all that a death can leave, in this order.
  condition.last_ticket.store(ticket, std::memory_order_relaxed);
  waiter.process.store(this_process(), std::memory_order_relaxed);
  waiter.is_asleep.store(0, std::memory_order_relaxed);
  // If killed before this: the place is free. Behind it: somebody notices.
  waiter.ticket.store(ticket, std::memory_order_release);
  return waiter;
}

bool is_let_go(const ConditionObject& condition, const Waiter& waiter) {
  return waiter.ticket.load(std::memory_order_relaxed) <= condition.let_go.load();
}

// With the user's lock held again. Whether there was a notification; one that comes later is another's.
bool leave(ConditionObject& condition, Waiter& waiter) {
  if (!is_let_go(condition, waiter)) {
    const ListGuard guard(condition);
    if (!is_let_go(condition, waiter)) {
      waiter.ticket.store(0);
      return false;
    }
  }
  // If killed before this: the notification is passed on, although this process had the lock.
  waiter.ticket.store(0, std::memory_order_release);
  return true;
}

// ---- who notifies

void wake(Waiter& waiter) {
  if (waiter.is_asleep.load() == 0) return;
  waiter.wakes.fetch_add(1);
  futex_wake(waiter.wakes, 1);
}

// Lets go all tickets up to this one.
void let_go(ConditionObject& condition, std::uint64_t ticket) {
  const std::uint64_t before = condition.let_go.load();
  if (ticket <= before) return;
  condition.let_go.store(ticket);
  // If killed from here on: those who sleep see it at the end of their slices.
  for_each(condition, [&](Waiter& waiter) {
    const std::uint64_t one = waiter.ticket.load();
    if (before < one && one <= ticket) wake(waiter);
  });
}

// The ticket of the last of the `count` who have waited longest; 0 when nobody waits.
std::uint64_t last_of_first(const ConditionObject& condition, std::size_t count) {
  const std::uint64_t before = condition.let_go.load();
  std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
  std::vector<std::uint64_t> tickets;
  for_each(condition, [&](const Waiter& waiter) {
    const std::uint64_t ticket = waiter.ticket.load();
    if (ticket <= before) return;
    first = std::min(first, ticket);
    if (count > 1) tickets.push_back(ticket);
  });
  if (first == std::numeric_limits<std::uint64_t>::max()) return 0;
  if (count <= 1) return first;
  if (count < tickets.size()) {
    const auto last = tickets.begin() + static_cast<std::ptrdiff_t>(count) - 1;
    std::nth_element(tickets.begin(), last, tickets.end());
    return *last;
  }
  return *std::max_element(tickets.begin(), tickets.end());
}

// ---- the dead

// Frees their places; a notification that one of them did not live to take goes to the next.
void pass_on_from_the_dead(ConditionObject& condition) {
  const ListGuard guard(condition);
  const Stamp own = this_process();
  Stamp seen = own;
  bool seen_is_gone = false;
  for_each(condition, [&](Waiter& waiter) {
    const Stamp process = waiter.process.load();
    if (process == own) return;
    if (process != seen) {
      seen = process;
      seen_is_gone = is_gone(process);
    }
    if (!seen_is_gone) return;
    const bool was_notified = is_let_go(condition, waiter);
    if (was_notified) let_go(condition, last_of_first(condition, 1));
    // If killed before this: it is passed on once more, and somebody wakes without a cause.
    waiter.ticket.store(0);
  });
}

// Until its ticket is let go, or the time is up, or the lock was left by a dead holder: whether it is that.
bool sleep(ConditionObject& condition, Waiter& waiter, Deadline deadline,
           FunctionRef<bool()> is_lock_left) {
  const auto ready = [&] { return is_let_go(condition, waiter); };
  if (ready() || deadline.is_passed_from_start() || spin(ready, deadline, nullptr)) return false;
  Waiting waiting({.kind = WaitKind::notification, .target = target_of(condition)}, deadline);
  while (!ready() && !deadline.has_passed() && !SoftLimit::gives_up()) {
    const std::uint32_t wakes = waiter.wakes.load();
    waiter.is_asleep.store(1);
    // SYNC condition: either this sees the ticket let go, or who lets it go sees that this is asleep.
    if (ready()) return false;
    if (futex_wait_slice(waiter.wakes, wakes, deadline)) continue;
    waiting.look_around();
    if (is_lock_left()) return true;
    pass_on_from_the_dead(condition);
  }
  return false;
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
  Waiter& waiter = join(condition);
  // If killed behind this: nobody is told of a death, since nobody holds the lock.
  const auto hold = lock.unlock_all();
  if (hold.times == 0) {
    leave(condition, waiter);
    complain_not_held();
  }
  while (true) {
    const bool was_left =
        sleep(condition, waiter, deadline, [&] { return lock.is_left_by_the_dead(); });
    lock.lock_again(hold);
    if (!was_left || lock.owner_died() || is_let_go(condition, waiter)) break;
    // Another came before, and was told in its place: so it waits on, with the same ticket.
    static_cast<void>(lock.unlock_all());
  }
  if (leave(condition, waiter) || lock.owner_died()) return true;
  // Not before: as after any wait, the lock is held.
  SoftLimit::check(deadline);
  return false;
}

void Condition::notify(int count) const {
  ConditionObject& condition = condition_in(object());
  if (count < 0) throw std::invalid_argument("kin: notify() of fewer than none");
  if (count == 0 || condition.last_ticket.load() == condition.let_go.load()) return;
  const ListGuard guard(condition);
  let_go(condition, last_of_first(condition, static_cast<std::size_t>(count)));
}

void Condition::notify_all() const {
  ConditionObject& condition = condition_in(object());
  if (condition.last_ticket.load() == condition.let_go.load()) return;
  const ListGuard guard(condition);
  let_go(condition, condition.last_ticket.load());
}

}  // namespace kin
