// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "waiting/futex.hpp"

#include <kin/detail/deadline.hpp>

#include <array>
#include <atomic>
#include <cstdint>

namespace kin::detail {

/// A place where processes wait for something that another publishes: check, spin, sleep.
///
/// Who publishes commits first and then calls notify(), which costs a fence and a load while nobody
/// sleeps. It wakes one sleeper; a waiter that found more than it can take calls notify() in turn.
/// Lives in shared memory; all zero is its initial state. Writers: every waiter and every publisher.
/// If a process dies: a sleeper that was woken and died before it acted, or a publisher that died
/// between its commit and notify(), delays the others by one slice at most, as every sleeper looks
/// again after a slice.
class ParkingSpot {
 public:
  /// Waits until `ready()` holds or the time is up; tells which. Between slices of sleep it calls
  /// `look_around()`, for what no publisher announces, such as deaths; it may throw.
  bool wait(FunctionRef<bool()> ready, Deadline deadline, FunctionRef<void()> look_around);
  bool wait(FunctionRef<bool()> ready, Deadline deadline) {
    return wait(ready, deadline, [] {});
  }

  /// The same without spinning: for who knows that those who are to publish need the processors.
  bool sleep(FunctionRef<bool()> ready, Deadline deadline, FunctionRef<void()> look_around);

  /// Call after the commit that may make `ready()` true for a waiter, and after the unlock behind it.
  void notify() noexcept {
    // SYNC park: either this load sees the sleeper's announcement, or the sleeper's second look, behind
    // the fence in sleep(), sees what was committed before this fence.
    full_fence_after_unlock();
    const std::uint32_t sleepers = sleepers_.load(std::memory_order_relaxed);
    if ((sleepers & asleep) != 0) wake_one(sleepers);
  }
  /// The same for a commit that concerns every waiter, such as a shutdown.
  void notify_all() noexcept;

 private:
  static constexpr std::uint32_t asleep = 1;

  static void full_fence_after_unlock() noexcept {
#if defined(__x86_64__)
    // Unlocking a mutex is a locked instruction here, which is a full fence: saves 8 ns of 38 that a put
    // and a get take. Only the compiler has to be told.
    std::atomic_signal_fence(std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
  }
  void wake_one(std::uint32_t sleepers) noexcept;
  bool wake_front() noexcept;
  void announce() noexcept;

  // What sleepers sleep on; who wakes adds one first, so that who is about to sleep does not.
  FutexWord wakes_;
  // One of them sleeps apart and is woken first: it came last, so it is the one whose caches are warm.
  // (A futex wakes who has slept longest: of many idle readers a colder one each time.) `front_seat_`
  // holds its ticket, {visit : 32, thread : 32}; it may have died there.
  FutexWord front_wakes_;
  std::atomic<std::uint64_t> front_seat_;
  // {version, asleep}: the bit says that somebody may be asleep. Every announcement changes the
  // version, so that clearing the bit can't take away one that came in between.
  std::atomic<std::uint32_t> sleepers_;
  // Until then (monotonic clock) a process that is awake will look: it spins, or was woken and is on
  // its way. Publishers need not wake another. Only a hint: at worst a sleeper waits out its slice.
  std::atomic<std::int64_t> awake_until_;
};

/// The first part of waiting, for who then sleeps elsewhere: spins for about what a wake-up costs, as
/// long as that has been worth it lately; for longer than a moment only with a permit. While it has one,
/// `awake_until` (if there is any) tells until when. Whether `ready()` came true.
bool spin(FunctionRef<bool()> ready, Deadline deadline, std::atomic<std::int64_t>* awake_until);

/// Permits to spin for longer than a moment, no more in the whole arena than there are processors.
/// Each holds the time at which it lapses, so that a killed spinner's permit is not lost.
struct SpinPermits {
  static constexpr std::size_t most = 64;
  std::array<std::atomic<std::int64_t>, most> lapse;
  std::uint32_t count;

  /// The ones that this process and its kin use from now on; without any nobody spins for long.
  static void use(SpinPermits* permits) noexcept;
};

}  // namespace kin::detail
