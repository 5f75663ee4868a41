// SPDX-License-Identifier: BSL-1.0

// Locks under fire: eight workers count under a Lock or an RLock, and holders are killed.
//
// Under the lock a worker writes who is inside, adds one to two plain numbers, and writes that nobody
// is. So whoever comes in finds nobody there and both numbers equal, or is told by owner_died() that
// the holder before it was killed; it puts the numbers right then. Where a worker notes before and
// after what it added, the number is right to one for each of the killed.

#include "hunt.hpp"

#include <kin/sync.hpp>

namespace {

using soak::Chance;
using soak::Desk;
using soak::Herd;
using soak::violation;

struct Guarded {
  volatile std::uint64_t first;
  volatile std::uint64_t second;
  volatile pid_t inside;
};

struct Accounts {
  Guarded guarded;
  std::atomic<std::uint64_t> deaths;  // as owner_died() told
  std::atomic<std::uint64_t> repairs;
  struct Worker {
    std::atomic<std::uint64_t> adding;  // may have been added
    std::atomic<std::uint64_t> added;   // was
  };
  std::array<Worker, Herd::most_incarnations> workers;
};

struct Totals {
  std::uint64_t phases = 0;
  std::uint64_t killed = 0;
  std::uint64_t counted = 0;
  std::uint64_t deaths = 0;
  std::uint64_t repairs = 0;
};

template <typename LockType>
class Counting {
 public:
  explicit Counting(const char* name) : name_(name) {}

  void run(const soak::Options& options, double share) {
    const auto begin = soak::Clock::now();
    const auto end = begin + std::chrono::duration<double>(options.seconds * share);
    Chance chance(options.seed);
    const LockType lock;
    phase(lock, chance, soak::milliseconds(300));
    const soak::Holdings settled = soak::Holdings::now();
    while (soak::Clock::now() < end) {
      phase(lock, chance, soak::milliseconds(200 + chance.up_to(800)));
      settled.compare(soak::Holdings::now(), 0);
    }
    const auto ull = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
    std::printf(
        "%s: %.1f s, %llu phases, %llu killed; counted to %llu, %llu deaths of holders told, "
        "%llu of them in mid-count\n",
        name_, std::chrono::duration<double>(soak::Clock::now() - begin).count(),
        ull(totals_.phases), ull(totals_.killed), ull(totals_.counted), ull(totals_.deaths),
        ull(totals_.repairs));
  }

 private:
  void phase(const LockType& lock, Chance& chance, soak::milliseconds length) {
    soak::enter("hunt");
    const crash::SharedPage<Accounts> accounts;
    over_->store(false);
    const std::uint32_t seed = chance.up_to(1'000'000'000);
    Herd herd(chance, [&](std::size_t desk, std::uint32_t incarnation) {
      Chance own(seed + incarnation);
      while (!over_->load()) {
        turn(lock, *accounts, own, soak::board().desks[desk], accounts->workers[incarnation]);
      }
    });
    herd.hunt_until(soak::Clock::now() + length);
    soak::enter("workers end");
    over_->store(true);
    for (std::size_t desk = 0; desk < soak::worker_count; ++desk) herd.finish(desk);
    soak::enter("accounts");
    settle(lock, *accounts, herd);
  }

  void turn(const LockType& lock, Accounts& accounts, Chance& chance, Desk& desk,
            Accounts::Worker& self) {
    desk.does.store("outside");
    if (chance.one_in(300)) std::this_thread::sleep_for(chance.microseconds(50, 1000));
    if (!take(lock, chance, desk)) return;
    desk.does.store("inside");
    Guarded& guarded = accounts.guarded;
    const bool whole = guarded.inside == 0 && guarded.first == guarded.second;
    if (lock.owner_died()) {
      accounts.deaths.fetch_add(1);
      if (!whole) accounts.repairs.fetch_add(1);
      guarded.second = guarded.first;
    } else if (!whole) {
      violation("pid %d is inside too, numbers %llu and %llu", static_cast<int>(guarded.inside),
                static_cast<unsigned long long>(guarded.first),
                static_cast<unsigned long long>(guarded.second));
    }
    guarded.inside = getpid();
    self.adding.fetch_add(1);
    guarded.first = guarded.first + 1;
    if (chance.one_in(2000)) std::this_thread::sleep_for(chance.microseconds(0, 500));
    again(lock);
    guarded.second = guarded.second + 1;
    self.added.fetch_add(1);
    if (guarded.inside != getpid()) {
      violation("pid %d came inside", static_cast<int>(guarded.inside));
    }
    guarded.inside = 0;
    lock.unlock();
    desk.progress.fetch_add(1, std::memory_order_relaxed);
  }

  static bool take(const LockType& lock, Chance& chance, Desk& desk) {
    if (chance.one_in(4)) {
      desk.does.store("try_lock");
      return lock.try_lock();
    }
    if (chance.one_in(4)) {
      desk.does.store("try_lock_for");
      return lock.try_lock_for(chance.microseconds(0, 3000));
    }
    desk.does.store("lock");
    lock.lock();
    return true;
  }

  static void again([[maybe_unused]] const LockType& lock) {
    if constexpr (std::is_same_v<LockType, kin::RLock>) {
      lock.lock();
      if (lock.depth() != 2) violation("depth %u in the second hold", lock.depth());
      lock.unlock();
    }
  }

  void settle(const LockType& lock, const Accounts& accounts, const Herd& herd) {
    if (lock.locked()) violation("locked, and nobody is left");
    std::uint64_t added = 0;
    std::uint64_t adding = 0;
    for (const Accounts::Worker& worker : accounts.workers) {
      added += worker.added.load();
      adding += worker.adding.load();
    }
    const std::uint64_t counted = accounts.guarded.first;
    if (counted < added || counted > adding) {
      violation("counted to %llu; by the notes it must be %llu to %llu",
                static_cast<unsigned long long>(counted), static_cast<unsigned long long>(added),
                static_cast<unsigned long long>(adding));
    }
    const std::uint64_t deaths = accounts.deaths.load();
    if (deaths > herd.killed().size()) {
      violation("%llu deaths were told, %zu workers were killed",
                static_cast<unsigned long long>(deaths), herd.killed().size());
    }
    ++totals_.phases;
    totals_.killed += herd.killed().size();
    totals_.counted += counted;
    totals_.deaths += deaths;
    totals_.repairs += accounts.repairs.load();
  }

  const char* name_;
  crash::SharedPage<std::atomic<bool>> over_;
  Totals totals_;
};

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("lock_soak", options, [&] {
    Counting<kin::Lock>("Lock").run(options, 0.5);
    Counting<kin::RLock>("RLock").run(options, 0.5);
  });
}
