// SPDX-License-Identifier: BSL-1.0

// Whoever takes a permit of a semaphore, or gives one back, is killed or stopped at every instruction:
// permits are neither lost nor made, and who waits for one gets it.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/log.hpp>
#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <string>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string all_free = "all permits are free";
const std::string one_less = "one permit is taken";
const std::string one_more = "one permit more";

/// One of three permits is the test's, who lives.
struct Fresh {
  kin::OnDeath on_death = kin::give_back;
  std::optional<kin::Semaphore> semaphore = std::nullopt;

  void prepare() {
    sweep_the_dead();
    kin::set_log_level(kin::LogLevel::off);  // it has a warning in every second round
    semaphore.emplace(kin::SemaphoreOptions{.on_death = on_death}, 3);
    semaphore->acquire();
  }

  /// How many permits can be had, by taking them; all are given back. There should be so many.
  [[nodiscard]] int count(int wanted = 0) const {
    int taken = 0;
    while (semaphore->try_acquire()) ++taken;
    // Who tries asks for those of the dead once a slice, and somebody may just have asked.
    while (taken < wanted && semaphore->try_acquire_for(1s)) ++taken;
    if (taken > 0) semaphore->release(taken);
    require(semaphore->value() == taken, "value() is another number");
    return taken;
  }

  [[nodiscard]] crash::Ranges watch() const {
    return {{reinterpret_cast<const std::byte*>(&crash::object_of(*semaphore)), 256}};
  }
};

crash::Scenario take_and_give_back(Fresh& fresh) {
  return {
      .name = "acquire and release",
      .prepare = [&] { fresh.prepare(); },
      .operation =
          [&] {
            fresh.semaphore->acquire();
            fresh.semaphore->release();
          },
      .check =
          [&](const Moment& moment) {
            const int count = fresh.count(fresh.on_death == kin::give_back ? 2 : 0);
            require(count == 2 || (count == 1 && !moment.completed), "permits were lost or made");
            return count == 2 ? all_free : one_less;
          },
      .expected = {all_free, one_less},
  };
}

}  // namespace

TEST_SUITE("semaphore") {
  TEST_CASE("a permit that stays taken") {
    const crash::Balance balance;
    Fresh fresh{kin::OnDeath::keep};
    crash::prove(take_and_give_back(fresh));
    fresh.semaphore.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a permit that is given back") {
    Fresh fresh;
    crash::Scenario scenario = take_and_give_back(fresh);
    scenario.name = "acquire and release, given back";
    scenario.expected = {all_free};
    scenario.budget = 8s;
    crash::prove(scenario);
  }

  TEST_CASE("a permit that was never taken") {
    Fresh fresh;
    crash::prove({
        .name = "release of another's permit, then of one more than there were",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              fresh.semaphore->release();
              fresh.semaphore->release();
            },
        .check =
            [&](const Moment& moment) {
              const int count = fresh.count(2);
              require(count >= 2 && count <= 4, "permits were lost or made");
              require(count == 4 || !moment.completed, "a release was lost");
              return count == 2 ? one_less : count == 3 ? all_free : one_more;
            },
        .expected = {one_less, all_free, one_more},
        .budget = 8s,
    });
  }

  TEST_CASE("others take and release at the same time") {
    for (const kin::OnDeath on_death : {kin::OnDeath::keep, kin::give_back}) {
      Fresh fresh{on_death};
      crash::Scenario scenario = take_and_give_back(fresh);
      scenario.name = "acquire and release beside others";
      if (on_death == kin::give_back) scenario.expected = {all_free};
      scenario.partner = [&] {
        require(fresh.semaphore->try_acquire_for(5s), "there is a permit for the other");
        fresh.semaphore->release();
      };
      scenario.partner_every = 4;
      scenario.budget = 6s;
      crash::prove(scenario);
    }
  }

  TEST_CASE("others wait for it") {
    for (const kin::OnDeath on_death : {kin::OnDeath::keep, kin::give_back}) {
      Fresh fresh{on_death};
      crash::prove({
          .name = "release that wakes another",
          .prepare =
              [&] {
                fresh.prepare();
                fresh.semaphore->acquire();
                fresh.semaphore->acquire();
              },
          .operation = [&] { fresh.semaphore->release(); },
          .check =
              [&](const Moment& moment) {
                if (!moment.completed) fresh.semaphore->release();
                const std::string answer = crash::rouse(moment);
                require(answer == "got one", "the waiter got none");
                return answer;
              },
          .expected = {"got one"},
          .sleeper =
              [&] {
                crash::sleep_lightly();
                require(fresh.semaphore->try_acquire_for(5s), "no permit came");
                return "got one";
              },
          .budget = 8s,
      });
    }
  }

  TEST_CASE("one waits for a permit, gets it and is killed") {
    for (const kin::OnDeath on_death : {kin::OnDeath::keep, kin::give_back}) {
      Fresh fresh{on_death};
      crash::prove({
          .name = "acquire that was waited for",
          .prepare =
              [&] {
                fresh.prepare();
                fresh.semaphore->acquire();
                fresh.semaphore->acquire();
              },
          .operation = [&] { fresh.semaphore->acquire(); },
          .check =
              [&](const Moment& moment) {
                const int count = fresh.count(on_death == kin::give_back ? 1 : 0);
                if (on_death == kin::give_back) {
                  require(count == 1, "the permit was lost");
                  return all_free;
                }
                require(count == 0 || (count == 1 && !moment.completed), "permits were made");
                return count == 1 ? all_free : one_less;
              },
          .expected =
              on_death == kin::give_back ? std::vector{all_free} : std::vector{all_free, one_less},
          .waker = [&] { fresh.semaphore->release(); },
          .budget = 3s,
      });
    }
  }

  TEST_CASE("the holder is stopped, and goes on later") {
    Fresh fresh;
    crash::Scenario scenario = take_and_give_back(fresh);
    scenario.expected = {all_free};
    scenario.with = With::stop;
    scenario.while_stopped = [&] {
      // One permit is the test's, one may be the stopped one's.
      int taken = 0;
      while (taken < 3 && fresh.semaphore->try_acquire_for(1ms)) ++taken;
      require(taken == 1 || taken == 2, "a permit was taken from a stopped process");
      fresh.semaphore->release(taken);
    };
    scenario.budget = 8s;
    crash::prove(scenario);
  }

  TEST_CASE("whoever gives back the permits of the dead is killed too") {
    Fresh fresh;
    crash::Scenario scenario = take_and_give_back(fresh);
    scenario.name = "try_acquire after a killed holder";
    scenario.operation = [&] {
      fresh.semaphore->acquire();
      fresh.semaphore->acquire();
    };
    scenario.expected = {all_free};
    scenario.at = At::every_change;
    scenario.watch = [&] { return fresh.watch(); };
    scenario.recovery = [&] {
      while (fresh.semaphore->try_acquire()) {
      }
    };
    scenario.budget = 8s;
    crash::prove(scenario);
  }
}
