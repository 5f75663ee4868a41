// SPDX-License-Identifier: BSL-1.0

// Locks taken in patterns by eight workers of three threads each, of which some are killed and stopped.
//
// First in one order: then there is no deadlock, and nobody may be told of one, however long he waits.
// Then in any order: there are deadlocks all the time, and each must be told to somebody, or nothing
// would go on. Waits count as long after a fraction of the usual time, so that rings are looked for
// all the time.

#include "hunt.hpp"

#include "deadlock/waiting.hpp"
#include "waiting/robust_lock.hpp"

#include <kin/error.hpp>
#include <kin/lock.hpp>

#include <memory>

namespace {

using kin::detail::LockHandle;
using soak::Chance;
using soak::Desk;
using soak::Herd;
using soak::violation;

constexpr std::size_t lock_count = 8;
constexpr int threads_of_a_worker = 3;

struct Counts {
  std::atomic<std::uint64_t> patterns;
  std::atomic<std::uint64_t> told;
  std::atomic<std::uint64_t> looks;  // at a moment when somebody said that he waits
};

class Patterns {
 public:
  explicit Patterns(bool in_order) : in_order_(in_order) {
    for (std::size_t i = 0; i < lock_count; ++i) {
      if (i % 3 == 0) {
        locks_.emplace_back(kin::RLock());
      } else {
        locks_.emplace_back(kin::Lock());
      }
    }
  }

  void run(const soak::Options& options, double share) {
    const auto end = soak::Clock::now() + std::chrono::duration<double>(options.seconds * share);
    Chance chance(options.seed);
    std::size_t killed = 0;
    while (soak::Clock::now() < end) {
      soak::enter("hunt");
      over_->store(false);
      const std::uint32_t seed = chance.up_to(1'000'000'000);
      Herd herd(chance, [&](std::size_t desk, std::uint32_t incarnation) {
        work(seed + incarnation * threads_of_a_worker, soak::board().desks[desk]);
      });
      herd.hunt_until(soak::Clock::now() + soak::milliseconds(200 + chance.up_to(800)));
      soak::enter("workers end");
      over_->store(true);
      for (std::size_t desk = 0; desk < soak::worker_count; ++desk) herd.finish(desk);
      killed += herd.killed().size();
      settle();
    }
    std::printf("%s: %llu patterns, %llu looks at somebody who waits, %zu killed, %llu told\n",
                in_order_ ? "in one order" : "in any order",
                static_cast<unsigned long long>(counts_->patterns),
                static_cast<unsigned long long>(counts_->looks), killed,
                static_cast<unsigned long long>(counts_->told));
    if (in_order_ && counts_->told != 0) violation("somebody was told of a deadlock");
    if (!in_order_ && counts_->told == 0) violation("nobody was told of a deadlock");
    if (counts_->looks == 0) violation("nobody waited");
  }

 private:
  void work(std::uint32_t seed, Desk& desk) {
    std::vector<std::jthread> threads;
    for (std::uint32_t i = 0; i < threads_of_a_worker; ++i) {
      threads.emplace_back([this, &desk, seed, i] {
        Chance chance(seed + i);
        while (!over_->load()) turn(chance, desk);
      });
    }
  }

  void turn(Chance& chance, Desk& desk) {
    std::vector<std::size_t> chosen;
    for (std::size_t i = 0; i < lock_count; ++i) {
      if (chance.one_in(3)) chosen.push_back(i);
    }
    if (!in_order_) {
      for (std::size_t i = chosen.size(); i > 1; --i) {
        std::swap(chosen[i - 1], chosen[chance.up_to(static_cast<std::uint32_t>(i - 1))]);
      }
    }
    try {
      std::vector<std::unique_ptr<kin::LockGuard>> held;
      for (const std::size_t i : chosen) {
        held.push_back(std::make_unique<kin::LockGuard>(locks_[i]));
        if (chance.one_in(500)) std::this_thread::sleep_for(chance.microseconds(100, 20000));
      }
    } catch (const kin::DeadlockError&) {
      ++counts_->told;
    }
    ++counts_->patterns;
    if (chance.one_in(16)) look();
    desk.progress.fetch_add(1, std::memory_order_relaxed);
  }

  void look() {
    for (const auto& record : kin::detail::all_waits()) {
      if (!kin::detail::read_wait(record)) continue;
      ++counts_->looks;
      return;
    }
  }

  // Nobody holds anything, and nobody says that he waits.
  void settle() {
    for (const LockHandle& lock : locks_) {
      if (lock.locked()) violation("locked, and nobody is left");
    }
    const auto own = kin::detail::this_process();
    for (const auto& record : kin::detail::all_waits()) {
      const auto wait = kin::detail::read_wait(record);
      if (wait && wait->process != own) violation("somebody waits, and nobody is left");
    }
  }

  bool in_order_;
  std::vector<LockHandle> locks_;
  crash::SharedPage<Counts> counts_;
  crash::SharedPage<std::atomic<bool>> over_;
};

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  kin::detail::RobustLock::slice = 500'000;
  kin::detail::Waiting::patience = 1'000'000;
  return soak::watch("deadlock_soak", options, [&] {
    Patterns(true).run(options, 0.5);
    Patterns(false).run(options, 0.5);
  });
}
