// SPDX-License-Identifier: BSL-1.0

// Whoever takes a lock, or gives it back, is killed or stopped at every instruction: the lock works on,
// and the next holder is told if what it guards may be half changed.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <kin/log.hpp>
#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <unistd.h>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string free_again = "free";
const std::string told = "told of a death";

/// What a lock guards.
struct Guarded {
  std::atomic<int> begun;
  std::atomic<int> ended;
  std::atomic<pid_t> holder;
  std::atomic<bool> release;

  void clear() {
    begun = ended = holder = 0;
    release = false;
  }
  bool is_half_done() const { return begun != ended; }
};

template <typename L>
struct Fresh {
  std::optional<L> lock = std::nullopt;
  crash::SharedPage<Guarded> guarded = {};

  void prepare() {
    sweep_the_dead();
    kin::set_log_level(kin::LogLevel::off);  // it has a warning in every second round
    guarded->clear();
    lock.emplace();
  }

  void change() {
    guarded->begun = guarded->begun + 1;
    guarded->ended = guarded->ended + 1;
  }

  std::string outcome(const Moment& moment) {
    require(lock->try_lock_for(5s), "the lock of a dead process can't be taken");
    const bool was_told = lock->owner_died();
    require(was_told || !guarded->is_half_done(), "the next holder was not told");
    require(!was_told || !moment.completed, "the holder was told of a death after the unlock");
    require(lock->locked() && lock->owner()->pid == getpid(), "the owner is somebody else");
    lock->unlock();
    require(!lock->locked(), "it is locked after the unlock");
    for (int again = 0; again < 2; ++again) {
      require(lock->try_lock() && !lock->owner_died(), "it does not work");
      lock->unlock();
      sweep_the_dead();
    }
    return was_told ? told : free_again;
  }

  crash::Ranges watch() const {
    auto ranges =
        crash::Ranges{{reinterpret_cast<const std::byte*>(&crash::object_of(*lock)), 256}};
    ranges.push_back(crash::memory_of(*guarded));
    return ranges;
  }
};

void take_twice_and_change(Fresh<kin::RLock>& fresh) {
  const std::scoped_lock outer(*fresh.lock);
  fresh.guarded->begun = 1;
  {
    const std::scoped_lock inner(*fresh.lock);
    require(fresh.lock->depth() == 2, "the depth is wrong");
  }
  fresh.guarded->ended = 1;
}

}  // namespace

TEST_SUITE("lock") {
  TEST_CASE("a lock is taken and given back") {
    const crash::Balance balance;
    Fresh<kin::Lock> fresh;
    crash::prove({
        .name = "lock and unlock",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              fresh.change();
            },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {free_again, told},
    });
    fresh.lock.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a recursive lock is taken twice") {
    Fresh<kin::RLock> fresh;
    crash::prove({
        .name = "RLock: lock, lock, unlock, unlock",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { take_twice_and_change(fresh); },
        .check =
            [&](const Moment& moment) {
              const std::string outcome = fresh.outcome(moment);
              require(fresh.lock->depth() == 0, "a depth was left over");
              return outcome;
            },
        .expected = {free_again, told},
    });
  }

  TEST_CASE("others take it at the same time") {
    Fresh<kin::Lock> fresh;
    crash::prove({
        .name = "lock and unlock beside others",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              fresh.change();
            },
        .check =
            [&](const Moment& moment) {
              const int turns = static_cast<int>(moment.partner_turns);
              const int ended = fresh.guarded->ended;
              require(ended == turns || ended == turns + 1, "two held it at a time");
              return fresh.outcome(moment);
            },
        // The other may have been told.
        .expected = {free_again},
        .possible = {told},
        .partner =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              if (fresh.lock->owner_died()) fresh.guarded->begun = fresh.guarded->ended.load();
              fresh.change();
            },
        .partner_every = 4,
    });
  }

  TEST_CASE("others wait for it") {
    Fresh<kin::Lock> fresh;
    crash::prove({
        .name = "unlock that wakes another",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              // The other sleeps until this one has the lock.
              const std::scoped_lock guard(*fresh.lock);
              fresh.guarded->release = true;
              fresh.change();
            },
        .check =
            [&](const Moment& moment) {
              fresh.guarded->release = true;
              const std::string outcome = crash::rouse(moment);
              require(outcome == free_again || !moment.completed, "told of a death that was none");
              static_cast<void>(fresh.outcome(moment));
              return outcome;
            },
        .expected = {free_again, told},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              while (!fresh.guarded->release) std::this_thread::sleep_for(200us);
              const std::scoped_lock guard(*fresh.lock);
              const bool was_told = fresh.lock->owner_died();
              require(was_told || !fresh.guarded->is_half_done(), "the waiter was not told");
              fresh.guarded->begun = fresh.guarded->ended.load();
              return was_told ? told : free_again;
            },
    });
  }

  TEST_CASE("one waits for a lock, gets it and is killed") {
    Fresh<kin::Lock> fresh;
    crash::prove({
        .name = "lock that was waited for",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              fresh.change();
            },
        .check =
            [&](const Moment& moment) {
              require(moment.sleeper_answer() == "released", "the holder lost its lock");
              return fresh.outcome(moment);
            },
        .expected = {free_again, told},
        .sleeper =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              while (!fresh.guarded->release) std::this_thread::sleep_for(200us);
              require(!fresh.lock->owner_died(), "told of a death that was none");
              return "released";
            },
        .waker = [&] { fresh.guarded->release = true; },
    });
  }

  TEST_CASE("the holder is stopped, and goes on later") {
    Fresh<kin::Lock> fresh;
    crash::prove({
        .name = "lock and unlock",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              fresh.change();
            },
        .check =
            [&](const Moment& moment) {
              require(moment.completed && fresh.guarded->ended == 1, "it did not finish");
              return fresh.outcome(moment);
            },
        .expected = {free_again},
        .with = With::stop,
        .while_stopped =
            [&] {
              if (!fresh.lock->try_lock_for(1ms)) return;
              require(!fresh.guarded->is_half_done(), "the lock was taken from a stopped process");
              require(!fresh.lock->owner_died(), "a stopped process counts as dead");
              fresh.lock->unlock();
            },
    });
  }

  TEST_CASE("whoever is told is killed too") {
    Fresh<kin::Lock> fresh;
    crash::Scenario scenario{
        .name = "lock and unlock after a killed holder",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              fresh.change();
            },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {free_again, told},
        .at = At::every_change,
        .watch = [&] { return fresh.watch(); },
        .recovery =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              if (fresh.lock->owner_died()) fresh.guarded->begun = fresh.guarded->ended.load();
            },
        .budget = 5s,
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 3s;
    crash::prove(scenario);
  }
}
