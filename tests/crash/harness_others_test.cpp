// SPDX-License-Identifier: BSL-1.0

// The harness on toys with others around the traced process: who waits for it, runs between its steps, sleeps,
// recovers, or is left behind.

#include "crash/prove.hpp"
#include "crash/toybox.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using crash::At;
using crash::examine;
using crash::mentions;
using crash::Moment;
using crash::Report;
using crash::sleep_while_zero;
using crash::Toybox;
using crash::wake_one;
using crash::With;
using namespace std::chrono_literals;

TEST_SUITE("harness with others") {
  TEST_CASE("a stopped process takes nothing with it, and finishes later") {
    const Toybox box;
    crash::prove({
        .name = "toy: stopped",
        .prepare = [&] { box.clear(); },
        .operation = [&] { ++box->first; },
        .check = [&](const Moment& moment) -> std::string {
          crash::require(moment.completed, "it did not finish");
          return std::to_string(box->first + box->second);
        },
        .expected = {"2"},
        .with = With::stop,
        .while_stopped = [&] { ++box->second; },
    });
  }

  TEST_CASE("a stopped process that crashes later is found") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: stopped and robbed",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              if (++box->first == 2) {
                raise(SIGKILL);
              }
            },
        .check = [&](const Moment&) { return "done"; },
        .expected = {"done"},
        .with = With::stop,
        .while_stopped = [&] { ++box->first; },
    });
    CHECK(mentions(report, "the process that was stopped died of signal 9"));
  }

  TEST_CASE("who waits for a stopped process is found") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: waits for a stopped one",
        .prepare = [&] { box.clear(); },
        .operation = [&] { box->word = 1; },
        .check = [&](const Moment&) { return "done"; },
        .expected = {"done"},
        .with = With::stop,
        .while_stopped = [&] { sleep_while_zero(box->word); },
        .patience = 200ms,
    });
    CHECK(mentions(report, "beside a stopped process hangs, in system call"));
  }

  TEST_CASE("the partner runs between the steps: a lost update is found, an atomic one is right") {
    const Toybox box;
    crash::Scenario scenario{
        .name = "toy: load and store",
        .prepare = [&] { box.clear(); },
        .operation = [&] { box->first = box->first + 1; },
        .check = [&](const Moment& moment) -> std::string {
          const int added = box->first - static_cast<int>(moment.partner_turns);
          if (added < 0) {
            return "lost";
          }
          return added == 0 ? "not added" : "added";
        },
        .possible = {"added", "not added"},
        .partner = [&] { ++box->first; },
    };
    CHECK(mentions(examine(scenario), "wrong outcome: lost"));

    scenario.name = "toy: atomic increment";
    scenario.operation = [&] { ++box->first; };
    scenario.expected = {"added", "not added"};
    crash::prove(scenario);

    scenario.name = "toy: atomic increment, partner without pause";
    scenario.partner_every = 0;
    crash::prove(scenario);
  }

  TEST_CASE(
      "a partner that waits for the traced process does not hold it up, and is missed when it "
      "hangs") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: spin flag with a partner",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              while (box->flag.exchange(1) == 1) {
              }
              ++box->first;
              box->flag = 0;
            },
        .check = [&](const Moment&) { return "went on"; },
        .expected = {"went on"},
        .partner =
            [&] {
              while (box->flag.exchange(1) == 1) {
              }
              box->flag = 0;
            },
        .patience = 200ms,
    });
    CHECK(mentions(report, "the partner hangs"));
    CHECK(report.outcomes.contains("went on"));
  }

  TEST_CASE("a sleeper that nobody wakes is found; one that looks again by itself is right") {
    const Toybox box;
    crash::Scenario scenario{
        .name = "toy: wake after store",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              box->word = 1;
              wake_one(box->word);
            },
        .check = [&](const Moment&) -> std::string {
          if (box->word == 0) {  // it never was: do it now
            box->word = 2;
            wake_one(box->word);
            return "woken by the survivor";
          }
          return "woken";
        },
        .expected = {"woken", "woken by the survivor"},
        .sleeper =
            [&] {
              sleep_while_zero(box->word);
              return std::string("good morning");
            },
        .patience = 200ms,
    };
    CHECK(mentions(examine(scenario), "the sleeper hangs, in system call"));

    scenario.name = "toy: wake after store, sleep in slices";
    scenario.patience = 5s;
    scenario.sleeper = [&] {
      constexpr timespec slice{.tv_sec = 0, .tv_nsec = 10'000'000};
      sleep_while_zero(box->word, &slice);
      return std::string("good morning");
    };
    scenario.check = [&, check = scenario.check](const Moment& moment) {
      std::string outcome = check(moment);
      crash::require(moment.sleeper_answer() == "good morning", "grumpy");
      return outcome;
    };
    crash::prove(scenario);
  }

  TEST_CASE("a sleeper is killed at each instruction after it was woken") {
    const Toybox box;
    crash::prove({
        .name = "toy: sleeper killed",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              sleep_while_zero(box->word);
              box->first = 1;
            },
        .check = [&](const Moment& moment) -> std::string {
          crash::require(box->word == 1, "nobody woke it");
          crash::require(moment.step > 1 || box->first == 0, "it went on without being woken");
          return box->first == 1 ? "taken" : "still there";
        },
        .expected = {"taken", "still there"},
        .waker =
            [&] {
              box->word = 1;
              wake_one(box->word);
            },
    });
  }

  TEST_CASE("a sleeper is stopped at each instruction after it was woken") {
    const Toybox box;
    crash::prove({
        .name = "toy: sleeper stopped",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              sleep_while_zero(box->word);
              box->first = 1;
            },
        .check = [&](const Moment&) { return box->first == 1 ? "taken" : "still there"; },
        .expected = {"taken"},
        .with = With::stop,
        .waker =
            [&] {
              box->word = 1;
              wake_one(box->word);
            },
    });
  }

  TEST_CASE("an operation is killed on its way into sleep") {
    const Toybox box;
    crash::prove({
        .name = "toy: falls asleep",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              box->flag = 1;
              sleep_while_zero(box->word);
            },
        .check = [&](const Moment&) { return box->flag == 1 ? "waits" : "does not wait"; },
        .expected = {"waits", "does not wait"},
        .blocks = true,
    });
  }

  TEST_CASE("a recovery that may not be repeated is found, and one that may is right") {
    const Toybox box;
    crash::Scenario scenario{
        .name = "toy: recovery adds",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              box->intent = 1;
              box->first = 1;
              box->second = 1;
              box->intent = 0;
            },
        .check = [&](const Moment&) -> std::string {
          if (box->intent == 1) {
            box->first = 1;
            box->second = 1;
          }
          crash::require(box->first == box->second, "torn");
          crash::require(box->first <= 1, "done twice");
          return box->first == 1 ? "done" : "not done";
        },
        .expected = {"done", "not done"},
        .watch = [&] { return box.watch(); },
        .recovery =
            [&] {
              if (box->intent == 1) {
                box->first = 1;
                box->second = 1;
                box->intent = 0;
              }
            },
    };
    crash::prove(scenario);

    scenario.name = "toy: recovery forgets its intent first";
    scenario.recovery = [&] {
      if (box->intent.exchange(0) == 1) {
        box->first = 1;
        box->second = 1;
      }
    };
    CHECK(mentions(examine(scenario), "torn"));
  }

  TEST_CASE("survivors may meet a zombie") {
    const Toybox box;
    crash::prove({
        .name = "toy: zombie",
        .prepare = [&] { box.clear(); },
        .operation = [&] { box->first = getpid(); },
        .check = [&](const Moment&) -> std::string {
          if (box->first == 0) {
            return "nobody";
          }
          return crash::process_state(box->first) == 'Z' ? "a zombie" : "somebody";
        },
        .expected = {"nobody", "a zombie"},
        .zombie = true,
    });
  }

  TEST_CASE("nobody is left: not the orphans of a killed process, not after a hang") {
    const std::vector<pid_t> before = crash::children_of_this_process();
    const Toybox box;
    const Report report = examine({
        .name = "toy: forks",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              const pid_t child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
              if (child == 0) {
                for (;;) {
                  pause();
                }
              }
              box->first = child;
            },
        .check = [&](const Moment&) -> std::string {
          if (box->first == 0) {
            return "no child known";
          }
          return crash::process_state(box->first) == 'S' ? "child left" : "child gone";
        },
        .expected = {"no child known", "child left"},
    });
    CHECK(report.passed());
    CHECK(crash::children_of_this_process() == before);
  }
}
