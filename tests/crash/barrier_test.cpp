// SPDX-License-Identifier: BSL-1.0

// A party of a barrier is killed or stopped at every instruction of its wait: the others pass, or are told
// that the barrier is broken, and reset() makes it as new.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/error.hpp>
#include <kin/process.hpp>
#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <thread>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string passed = "passed";
const std::string broken = "broken by the death";
const std::string never_came = "the party never came";

struct Fresh {
  int parties = 2;
  bool has_action = false;
  std::optional<kin::Barrier> barrier = std::nullopt;

  void prepare() {
    sweep_the_dead();
    if (has_action) {
      barrier.emplace(parties, [] {});
    } else {
      barrier.emplace(parties);
    }
  }

  /// For a sleeper, and for the check.
  [[nodiscard]] std::string meet(std::chrono::seconds limit = 5s) const {
    try {
      static_cast<void>(barrier->wait_for(limit));
      return passed;
    } catch (const kin::BrokenBarrierError& error) {
      const std::string what = error.what();
      if (what.find("died") != std::string::npos) return broken;
      if (what.find("abort()") != std::string::npos) return "told of the abort";
      require(what.find("its time limit") != std::string::npos, what);
      return never_came;
    }
  }

  /// The word that decides: the first of its line, behind those of the object and the lock.
  [[nodiscard]] const void* meeting() const {
    return reinterpret_cast<const std::byte*>(&crash::object_of(*barrier)) + 192;
  }

  [[nodiscard]] crash::Ranges watch() const {
    return {{reinterpret_cast<const std::byte*>(&crash::object_of(*barrier)), 256}};
  }

  void require_to_work() const {
    barrier->reset();
    require(!barrier->broken() && barrier->n_waiting() == 0, "reset() did not make it as new");
    try {
      static_cast<void>(barrier->wait_for(0s));
      require(parties == 1, "it let one pass alone");
    } catch (const kin::BrokenBarrierError&) {
      require(parties > 1, "a party of one did not pass");
    }
  }
};

// With one who waits, and is let go by the traced one, the last of the two.
crash::Scenario last_to_arrive(Fresh& fresh) {
  return {
      .name = fresh.has_action ? "the last arrives, and calls the action" : "the last arrives",
      .prepare = [&] { fresh.prepare(); },
      .operation = [&] { static_cast<void>(fresh.barrier->wait()); },
      .check =
          [&](const Moment& moment) {
            // Nobody can know of a party that had not come: another comes in its place.
            const bool is_waiting = fresh.barrier->n_waiting() == 1 && !fresh.barrier->broken();
            if (is_waiting) static_cast<void>(fresh.meet());
            const std::string answer = crash::rouse(moment);
            require(answer == passed || answer == broken, answer);
            require(answer == passed || !moment.completed, "broken behind the pass");
            fresh.require_to_work();
            return is_waiting ? never_came : answer;
          },
      .expected = {never_came, passed},
      // Killed on its way in, where the one who waits looks around before another comes.
      .possible = {broken},
      .sleeper =
          [&] {
            crash::sleep_lightly();
            return fresh.meet();
          },
      .budget = 10s,
  };
}

}  // namespace

TEST_SUITE("barrier") {
  TEST_CASE("a party of one") {
    const crash::Balance balance;
    Fresh fresh{1};
    crash::prove({
        .name = "wait, alone",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { static_cast<void>(fresh.barrier->wait()); },
        .check =
            [&](const Moment&) {
              require(fresh.meet() == passed, "it does not work");
              fresh.require_to_work();
              return passed;
            },
        .expected = {passed},
    });
    fresh.barrier.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("the last to arrive is killed") {
    Fresh fresh;
    crash::prove(last_to_arrive(fresh));
  }

  TEST_CASE("the last to arrive is killed about the action") {
    Fresh fresh{2, true};
    crash::Scenario scenario = last_to_arrive(fresh);
    scenario.expected.push_back(broken);
    scenario.possible = {};
    crash::prove(scenario);
  }

  TEST_CASE("who breaks it is killed, and so is who finishes that") {
    Fresh fresh;
    const std::string aborted = "told of the abort";
    crash::Scenario scenario{
        .name = "abort, while another waits",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.barrier->abort(); },
        .check =
            [&](const Moment& moment) {
              // Where it was never broken another comes, and they pass.
              const std::string own = fresh.meet();
              const std::string answer = crash::rouse(moment);
              require(own == answer, "one passed, and the other did not");
              require(own == aborted || (own == passed && !moment.completed), own);
              fresh.require_to_work();
              return own;
            },
        .expected = {passed, aborted},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return fresh.meet();
            },
    };
    crash::prove(scenario);

    scenario.name = "abort, after a killed abort";
    scenario.sleeper = {};
    scenario.watch = [&] { return fresh.watch(); };
    scenario.at = crash::At::every_change;
    scenario.recovery = scenario.operation;
    scenario.check = [&](const Moment& moment) {
      const bool was_broken = fresh.barrier->broken();
      const std::string own = fresh.meet(0s);
      require(own == aborted || (own == never_came && !was_broken), own);
      require(was_broken || !(moment.first_completed || moment.completed), "the abort was lost");
      fresh.require_to_work();
      return was_broken ? "was broken" : "was not";
    };
    scenario.expected = {"was broken", "was not"};
    scenario.budget = 8s;
    crash::prove(scenario);
  }

  TEST_CASE("one who waits is killed: the other is told, now or when it comes again") {
    Fresh fresh{3};
    crash::prove({
        .name = "wait, with another who waits",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { static_cast<void>(fresh.barrier->wait()); },
        .check =
            [&](const Moment& moment) {
              // The third had come, or comes now.
              const std::string answer = crash::rouse(moment);
              if (answer == broken) {
                require(fresh.barrier->broken(), "it does not stay broken");
              } else {
                require(answer == passed, answer);
                // The killed one passed as well. Whoever comes again is told.
                require(moment.completed || fresh.meet() == broken, "nobody knows of the death");
              }
              fresh.require_to_work();
              return answer;
            },
        .expected = {passed},
        .possible = {broken},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return fresh.meet();
            },
        .waker = [&] { static_cast<void>(fresh.meet()); },
        .budget = 5s,
    });
  }

  TEST_CASE("the last to arrive is stopped, and goes on later") {
    Fresh fresh{2, true};
    crash::Scenario scenario = last_to_arrive(fresh);
    scenario.check = [&](const Moment& moment) {
      const std::string answer = crash::rouse(moment);
      fresh.require_to_work();
      return answer;
    };
    scenario.expected = {passed};
    scenario.possible = {};
    scenario.with = With::stop;
    scenario.while_stopped = [&] {
      require(!fresh.barrier->broken(), "a stopped party counts as dead");
    };
    crash::prove(scenario);
  }

  TEST_CASE("who notices a death is killed too") {
    Fresh fresh{4};
    crash::prove({
        .name = "wait beside a killed party",
        .prepare =
            [&] {
              fresh.prepare();
              kin::Process party([&] { static_cast<void>(fresh.meet()); });
              party.start();
              while (fresh.barrier->n_waiting() == 0) std::this_thread::yield();
              party.kill();
              party.join();
            },
        .operation = [&] { require(fresh.meet() == broken, "nobody noticed"); },
        .check =
            [&](const Moment&) {
              require(fresh.meet() == broken, "nobody noticed");
              fresh.require_to_work();
              return broken;
            },
        .expected = {broken},
        .at = crash::At::every_change,
        .watch = [&] { return fresh.watch(); },
        // From its arrival on, and not through the exception: that is a long way, step by step.
        .lead = {.word = [&] { return fresh.meeting(); }, .stores = 1, .window = 30},
        .patience = 60s,
        .budget = 10s,
    });
  }
}
