// SPDX-License-Identifier: BSL-1.0
//
// Waiting. Waking a sleeper on another core costs tens of microseconds on the machines that kin was
// measured on, a cache line handed over between two spinning processes 0.1: so a waiter spins for
// about what a wake-up and the steps behind it cost before it sleeps, as long as that has been worth it lately.
//
//   1. A short spin, free for all: answers that are on their way already.
//   2. A longer one, with one of the arena's permits; the spot shows that somebody is awake.
//   3. Sleep: announce, fence, look again, futex.

#include "waiting/parking.hpp"

#include "base/thread_id.hpp"
#include "waiting/pause.hpp"

#include <algorithm>
#include <climits>
#include <cstdint>

namespace kin::detail {
namespace {

constexpr int short_spins = 100;                // about 2 to 5 µs
constexpr std::int64_t longest_spin = 100'000;  // ns: a wake-up, and a few steps of who was woken
constexpr std::int64_t shortest_spin = 2'000;   // ns
constexpr std::int64_t wake_up_time = 150'000;  // ns: who was woken will have looked by then

SpinPermits* spin_permits = nullptr;

// How long this thread's next long spin may be: doubled when one was worth it, else halved.
thread_local std::int64_t spin_budget = longest_spin;

// A time that lay ahead of this thread when it read the clock last. Reading it again costs as much as a whole put
// (`./tests/run bench`: waiting, a flood among idle readers); the processor's counter, which counts one a nanosecond at
// the least, costs less. After a fork: as true as before. Where processors' counters differ, a sleeper waits out its slice.
class TimeAhead {
 public:
  [[nodiscard]] bool covers(std::int64_t time) const noexcept {
    return time >= time_ && count() - seen_at_ < ahead_;
  }
  void see(std::int64_t time, std::int64_t now) noexcept {
    if (!has_counter) return;
    time_ = time;
    seen_at_ = count();
    ahead_ = static_cast<std::uint64_t>(time - now);
  }

 private:
#if defined(__x86_64__)
  static constexpr bool has_counter = true;
  static std::uint64_t count() noexcept { return __builtin_ia32_rdtsc(); }
#else
  static constexpr bool has_counter = false;
  static std::uint64_t count() noexcept { return 0; }
#endif
  std::int64_t time_ = INT64_MAX;
  std::uint64_t seen_at_ = 0;
  std::uint64_t ahead_ = 0;
};

// Of one visit to a front seat; so that nobody takes away the seat of a later one.
std::uint64_t new_ticket() noexcept {
  thread_local std::uint32_t visits = 0;
  return (static_cast<std::uint64_t>(++visits) << 32) | static_cast<std::uint32_t>(thread_id());
}

std::atomic<std::int64_t>* take_permit(std::int64_t now, std::int64_t until) noexcept {
  if (spin_permits == nullptr) return nullptr;
  for (std::uint32_t i = 0; i < spin_permits->count; ++i) {
    auto& permit = spin_permits->lapse[i];
    std::int64_t lapse = permit.load(std::memory_order_relaxed);
    // Relaxed: permits guard nothing but processor time.
    if (lapse < now && permit.compare_exchange_strong(lapse, until, std::memory_order_relaxed)) {
      return &permit;
    }
  }
  return nullptr;
}

}  // namespace

void SpinPermits::use(SpinPermits* permits) noexcept { spin_permits = permits; }

bool ParkingSpot::wait(FunctionRef<bool()> ready, Deadline deadline,
                       FunctionRef<void()> look_around) {
  if (ready()) return true;
  if (deadline.is_passed_from_start()) return false;
  if (spin(ready, deadline, &awake_until_)) return true;
  return sleep(ready, deadline, look_around);
}

bool ParkingSpot::sleep(FunctionRef<bool()> ready, Deadline deadline,
                        FunctionRef<void()> look_around) {
  while (true) {
    std::uint64_t ticket = new_ticket();
    std::uint64_t nobody = 0;
    const bool in_front = front_seat_.compare_exchange_strong(nobody, ticket);
    const FutexWord& word = in_front ? front_wakes_ : wakes_;
    const std::uint32_t wakes = word.load();
    announce();
    // SYNC park: pairs with the fence in notify().
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool seen = ready();
    // If killed in its sleep: the seat looks taken until a publisher finds nobody there.
    const bool woken = !seen && !deadline.has_passed() && futex_wait_slice(word, wakes, deadline);
    // Unless a publisher has given the seat away.
    if (in_front) front_seat_.compare_exchange_strong(ticket, 0);
    if (seen) return true;
    // If killed here: the wake is lost, and the others look again at the end of their slices.
    awake_until_.store(0);
    if (ready()) return true;
    if (deadline.has_passed()) return false;
    if (!woken) look_around();
  }
}

bool spin(FunctionRef<bool()> ready, Deadline deadline, std::atomic<std::int64_t>* awake_until) {
  for (int i = 0; i < short_spins; ++i) {
    pause();
    if (ready()) return true;
  }
  const std::int64_t now = Deadline::now();
  const std::int64_t until = std::min(now + spin_budget, deadline.nanoseconds());
  auto* permit = take_permit(now, until);
  if (permit == nullptr) return false;
  if (awake_until != nullptr) awake_until->store(until);
  bool seen = false;
  while (!seen && Deadline::now() < until) {
    for (int i = 0; i < 16 && !seen; ++i) {
      pause();
      seen = ready();
    }
  }
  permit->store(0, std::memory_order_relaxed);
  // A publisher may have trusted this until now; ready() is looked at again after it by the caller,
  // who takes what there is and notifies for what it leaves.
  if (awake_until != nullptr) awake_until->store(0);
  spin_budget =
      seen ? std::min(spin_budget * 2, longest_spin) : std::max(spin_budget / 2, shortest_spin);
  return seen;
}

void ParkingSpot::announce() noexcept {
  std::uint32_t before = sleepers_.load();
  while (!sleepers_.compare_exchange_weak(before, before + ((before & asleep) != 0 ? 2 : 1))) {
  }
}

void ParkingSpot::wake_one(std::uint32_t sleepers) noexcept {
  const std::int64_t until = awake_until_.load();
  [[gnu::tls_model("initial-exec")]] thread_local TimeAhead ahead;
  if (ahead.covers(until)) return;
  const std::int64_t now = Deadline::now();
  if (until > now) {
    ahead.see(until, now);
    return;
  }
  awake_until_.store(now + wake_up_time);
  // If killed in between: the sleepers look again at the end of their slices.
  if (wake_front()) return;
  wakes_.fetch_add(1);
  if (futex_wake(wakes_, 1) != 0) return;
  awake_until_.store(0);
  // Nobody slept. Fails when somebody has announced since.
  sleepers_.compare_exchange_strong(sleepers, sleepers + 1);
}

bool ParkingSpot::wake_front() noexcept {
  std::uint64_t ticket = front_seat_.load();
  if (ticket == 0) return false;
  front_wakes_.fetch_add(1);
  if (futex_wake(front_wakes_, 1) != 0) return true;
  // It is awake already, or dead.
  front_seat_.compare_exchange_strong(ticket, 0);
  return false;
}

void ParkingSpot::notify_all() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // SYNC park: as in notify()
  std::uint32_t sleepers = sleepers_.load(std::memory_order_relaxed);
  if ((sleepers & asleep) == 0) return;
  // If killed in between: the sleepers look again at the end of their slices.
  for (FutexWord* word : {&front_wakes_, &wakes_}) {
    word->fetch_add(1);
    futex_wake(*word, INT_MAX);
  }
  // Nobody who had announced sleeps now. Fails when somebody has announced since.
  sleepers_.compare_exchange_strong(sleepers, sleepers + 1);
}

}  // namespace kin::detail
