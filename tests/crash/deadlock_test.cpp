// SPDX-License-Identifier: BSL-1.0

// Whoever says that it waits, or looks for a ring, or has found one and gives up, is killed or stopped
// anywhere in it: the others go on, and nothing is left that says something wrong.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "deadlock/waiting.hpp"
#include "memory/arena.hpp"
#include "support/shared_page.hpp"

#include <kin/error.hpp>
#include <kin/lock.hpp>
#include <kin/log.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <thread>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using kin::detail::all_waits;
using kin::detail::WaitKind;
using namespace std::chrono_literals;

namespace {

const std::string silent = "said nothing";
const std::string said = "said that it waits";

bool anybody_waits() {
  return std::ranges::any_of(
      all_waits(), [](const auto& record) { return kin::detail::read_wait(record).has_value(); });
}

// All records are free, and one that is taken says what it should.
void require_a_table_that_works() {
  for (const auto& record : all_waits()) {
    require(record.process == 0, "a record of a dead process was not freed");
    require(!kin::detail::read_wait(record), "a free record says something");
  }
  auto* record = kin::detail::begin_wait({.kind = WaitKind::event, .target = 7});
  require(record != nullptr && record == all_waits().data(), "the first record can't be taken");
  const auto wait = kin::detail::read_wait(*record);
  require(wait && wait->target == 7 && wait->process == kin::detail::this_process(),
          "it says something else");
  kin::detail::end_wait(*record);
  require(!anybody_waits(), "a wait did not end");
}

void wait_for_nothing() {
  auto* record = kin::detail::begin_wait({.kind = WaitKind::event, .target = 5, .since = 6});
  if (record != nullptr) kin::detail::end_wait(*record);
}

/// The first record, which the traced process takes; whether it has said something since `prepare()`, as
/// its death may be swept before anybody looks.
struct FirstRecord {
  std::uint64_t before = 0;

  void prepare() {
    sweep_the_dead();
    before = state();
  }
  [[nodiscard]] std::string outcome() const;
  static std::uint64_t state() { return kin::detail::arena().waits->records[0].state; }
};

std::string FirstRecord::outcome() const {
  std::string outcome = state() != before ? said : silent;
  for (int again = 0; again < 2; ++again) {
    sweep_the_dead();
    require_a_table_that_works();
  }
  return outcome;
}

crash::Ranges first_records() {
  return {{reinterpret_cast<const std::byte*>(kin::detail::arena().waits),
           8 * sizeof(kin::detail::WaitRecord)}};
}

/// Two locks, of which the traced process and another take each the other's.
struct Fresh {
  struct Notes {
    std::atomic<bool> has_first;
    std::atomic<bool> was_told;
  };
  std::optional<kin::Lock> first = std::nullopt;
  std::optional<kin::Lock> second = std::nullopt;
  crash::SharedPage<Notes> notes = {};

  void prepare() {
    sweep_the_dead();
    kin::set_log_level(kin::LogLevel::off);
    kin::detail::RobustLock::slice = 1'000'000;
    kin::detail::Waiting::patience = 0;
    notes->has_first = notes->was_told = false;
    first.emplace();
    second.emplace();
  }

  void close_the_ring() {
    const kin::LockGuard guard(*first);
    notes->has_first = true;
    while (!anybody_waits()) std::this_thread::sleep_for(100us);
    try {
      second->lock();
    } catch (const kin::DeadlockError&) {
      notes->was_told = true;
    }
  }

  std::string other() {
    const kin::LockGuard guard(*second);
    while (!notes->has_first) std::this_thread::sleep_for(100us);
    try {
      const kin::LockGuard both(*first);
      return "has both";
    } catch (const kin::DeadlockError&) {
      return "was told";
    }
  }

  crash::Ranges watch() const {
    crash::Ranges ranges = first_records();
    for (const auto* lock : {&*first, &*second}) {
      ranges.push_back({reinterpret_cast<const std::byte*>(&crash::object_of(*lock)), 256});
    }
    return ranges;
  }
};

}  // namespace

TEST_SUITE("deadlock") {
  TEST_CASE("whoever says that it waits is killed") {
    FirstRecord record;
    crash::prove({
        .name = "a wait begins and ends",
        .prepare = [&] { record.prepare(); },
        .operation = wait_for_nothing,
        .check =
            [&](const Moment& moment) {
              const std::string outcome = record.outcome();
              require(outcome == said || !moment.completed, "it has not said that it waits");
              return outcome;
            },
        .expected = {silent, said},
    });
  }

  TEST_CASE("whoever says that it waits is stopped, and goes on later") {
    FirstRecord record;
    crash::prove({
        .name = "a wait begins and ends",
        .prepare = [&] { record.prepare(); },
        .operation = wait_for_nothing,
        .check =
            [&](const Moment&) {
              require(!anybody_waits(), "it did not end its wait");
              return record.outcome();
            },
        .expected = {said},
        .with = With::stop,
        .while_stopped =
            [] {
              const bool waits = anybody_waits();
              sweep_the_dead();
              require(anybody_waits() == waits, "the wait of a stopped process was ended");
            },
    });
  }

  TEST_CASE("whoever ends the wait of a dead process is killed too") {
    FirstRecord record;
    const crash::SharedPage<std::atomic<kin::detail::Stamp>> dead;
    crash::prove({
        .name = "the waits of a dead process are forgotten",
        .prepare =
            [&] {
              record.prepare();
              *dead = 0;
            },
        .operation =
            [&] {
              *dead = kin::detail::this_process();
              static_cast<void>(kin::detail::begin_wait({.kind = WaitKind::event, .target = 5}));
            },
        .check = [&](const Moment&) { return record.outcome(); },
        .expected = {silent, said},
        .at = At::every_change,
        .watch = first_records,
        .recovery =
            [&] {
              if (*dead != 0) kin::detail::forget_waits_of(*dead);
            },
        .budget = 8s,
    });
  }

  TEST_CASE("whoever has found a ring is killed") {
    Fresh fresh;
    crash::prove({
        .name = "lock that closes a ring, and gives up",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.close_the_ring(); },
        .check =
            [&](const Moment& moment) {
              fresh.notes->has_first = true;
              require(moment.sleeper_answer() == "has both", "the other was told");
              require(fresh.notes->was_told || !moment.completed, "nobody was told");
              sweep_the_dead();
              require_a_table_that_works();
              for (const kin::Lock* lock : {&*fresh.first, &*fresh.second}) {
                require(lock->try_lock_for(5s), "a lock can't be taken");
                lock->unlock();
              }
              return fresh.notes->was_told ? "was told" : "was not told yet";
            },
        .expected = {"was told", "was not told yet"},
        .at = At::every_change,
        .watch = [&] { return fresh.watch(); },
        .sleeper = [&] { return fresh.other(); },
        // From where it says that it waits; the other has the first record.
        .lead = {.word = [] { return &kin::detail::arena().waits->records[1].state; }, .stores = 1},
        .patience = 60s,
        .budget = 15s,
    });
    kin::detail::RobustLock::slice = kin::detail::slice_nanoseconds;
    kin::detail::Waiting::patience = 1'000'000'000;
    kin::set_log_level(kin::LogLevel::warning);
  }
}
