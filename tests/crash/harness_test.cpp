// SPDX-License-Identifier: BSL-1.0

// The harness on toys: protocols that are known to be broken must be found broken, and right ones
// right, or no crash test of kin would mean anything.

#include "crash/prove.hpp"
#include "crash/toybox.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
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
using crash::With;
using namespace std::chrono_literals;

TEST_SUITE("harness") {
  TEST_CASE("a commit by one store is found right") {
    const Toybox box;
    crash::prove({
        .name = "toy: slot and commit",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              box->first = 7;
              box->flag = 1;
            },
        .check = [&](const Moment&) -> std::string {
          if (box->flag == 0) {
            return "never put";
          }
          return box->first == 7 ? "put whole" : "torn";
        },
        .expected = {"never put", "put whole"},
    });
  }

  TEST_CASE("the child that an operation forks is killed, and the operation sees that") {
    const Toybox box;
    crash::Scenario scenario{
        .name = "toy: slot and commit by a child",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              const pid_t child = fork();
              if (child == 0) {
                box->first = 7;
                box->flag = 1;
                _exit(0);
              }
              int status = 0;
              waitpid(child, &status, 0);
              box->intent = WIFSIGNALED(status) ? WTERMSIG(status) : -1;
              _exit(0);
            },
        .check = [&](const Moment& moment) -> std::string {
          while (box->intent == 0) {
          }
          crash::require(box->intent == (moment.completed ? -1 : SIGKILL),
                         "it ended in another way");
          if (box->flag == 0) {
            return "never put";
          }
          return box->first == 7 ? "put whole" : "torn";
        },
        .expected = {"never put", "put whole"},
        .at = At::every_change,
        .watch = [&] { return box.watch(); },
        .follows_fork = true,
    };
    crash::prove(scenario);

    scenario.operation = [] { _exit(0); };
    const Report report = examine(scenario);
    CHECK(mentions(report, "was to fork"));
  }

  TEST_CASE("two words that must be equal are found torn, with the place") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: two words",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              ++box->first;
              ++box->second;
            },
        .check = [&](const Moment&) -> std::string {
          if (box->first != box->second) {
            return "torn";
          }
          return box->first == 0 ? "neither" : "both";
        },
        .expected = {"neither", "both"},
    });
    CHECK(mentions(report, "wrong outcome: torn"));
    CHECK(mentions(report, "harness_test"));
    CHECK(report.outcomes.contains("neither"));
  }

  TEST_CASE("a plain spin flag is found to hang the survivors") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: spin flag",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              while (box->flag.exchange(1) == 1) {
              }
              ++box->first;
              box->flag = 0;
            },
        .check = [&](const Moment&) -> std::string {
          while (box->flag.exchange(1) == 1) {
          }
          return "went on";
        },
        .expected = {"went on"},
        .patience = 200ms,
    });
    CHECK(mentions(report, "the check hangs"));
  }

  TEST_CASE("an outcome that never happens is a failure") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: nothing",
        .operation = [] {},
        .check = [](const Moment&) { return "nothing"; },
        .expected = {"nothing", "something"},
    });
    CHECK(mentions(report, "never happened: something"));
    CHECK(report.failures.size() == 1);
  }

  TEST_CASE(
      "an operation that throws and one that crashes are failures, and so is a check that throws") {
    crash::Scenario scenario{
        .name = "toy: throws",
        .operation = [] { throw std::runtime_error("no such toy"); },
        .check = [](const Moment&) { return "nothing"; },
        .possible = {"nothing"},
        .budget = 1s,
    };
    CHECK(mentions(examine(scenario), "threw: no such toy"));

    scenario.name = "toy: crashes";
    scenario.operation = [] { raise(SIGSEGV); };
    CHECK(mentions(examine(scenario), "died of signal 11"));

    scenario.name = "toy: check throws";
    scenario.operation = [] {};
    scenario.check = [](const Moment&) -> std::string {
      crash::require(false, "two and two is five");
      return "nothing";
    };
    CHECK(mentions(examine(scenario), "two and two is five"));
  }

  TEST_CASE("every change means exactly the changes") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: three changes",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              volatile int elsewhere = 0;
              for (int i = 0; i != 50; ++i) {
                elsewhere = elsewhere + 1;
              }
              box->first = 1;
              box->second = 1;
              box->flag = 1;
            },
        .check =
            [&](const Moment&) { return std::to_string(box->first + box->second + box->flag); },
        .expected = {"0", "1", "2", "3"},
        .at = At::every_change,
        .watch = [&] { return box.watch(); },
    });
    CHECK(report.passed());
    CHECK(report.kill_points == 4);
  }

  TEST_CASE("a short way to a kill point leads to the same instruction") {
    struct Seen {
      std::array<std::atomic<int>, 400> after_step;
    };
    const Toybox box;
    const auto walk = [&](const std::function<void()>& partner) {
      crash::SharedPage<Seen> seen;
      const Report report = crash::run({
          .name = "toy: loops",
          .prepare = [&] { box.clear(); },
          .operation =
              [&] {
                for (int i = 0; i != 10; ++i) {
                  ++box->first;
                  box->second += i % 3;
                  syscall(SYS_getppid);
                }
                box->flag = 1;
              },
          .check = [&](const Moment& moment) -> std::string {
            seen->after_step.at(moment.step) =
                1 + box->first + 100 * box->second + 10'000 * box->flag;
            return "seen";
          },
          .expected = {"seen"},
          .partner = partner,  // what has somebody beside it is stepped
      });
      CHECK(report.passed());
      std::vector<int> all(seen->after_step.begin(), seen->after_step.end());
      return std::pair(all, report.steps);
    };
    const auto [stepped, all_steps] = walk([] {});
    const auto [guided, steps] = walk({});
    CHECK(std::ranges::count(stepped, 0) < 300);
    CHECK(guided == stepped);
#if defined(__x86_64__)
    CHECK(2 * steps < all_steps);
#endif
  }

  TEST_CASE("kill points lie between a store and what ends them") {
    const Toybox box;
    crash::Scenario scenario{
        .name = "toy: a part of an operation",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              box->first = 1;
              box->word = 1;
              box->first = 2;
              box->second = 2;
              box->flag = 1;
              box->second = 3;
            },
        .check = [&](const Moment&) { return std::to_string(10 * box->first + box->second); },
        .expected = {"10", "20", "22"},
        .lead = {.word = [&] { return &box->word; },
                 .stores = 1,
                 .until = [&] { return box->flag == 1; }},
    };
    const Report whole = examine(scenario);
    CHECK(whole.passed());
    CHECK(whole.completed > 0);
    CHECK(whole.kill_points < 30);

    scenario.lead.until = [&] { return box->flag == 2; };
    CHECK(mentions(examine(scenario), "ended before its kill points did"));
  }

  TEST_CASE("an operation may go now one way and now another") {
    const Toybox box;
    int round = 0;
    crash::prove({
        .name = "toy: two ways",
        .prepare =
            [&] {
              box.clear();
              box->intent = ++round % 5;
            },
        .operation =
            [&] {
              if (box->intent < 2) {
                box->first = 1;
                box->second = 1;
              } else {
                box->second = 2;
                box->first = 2;
                box->flag = 2;
              }
            },
        .check = [&](const Moment&) -> std::string {
          return std::to_string(box->first) + std::to_string(box->second) +
                 std::to_string(box->flag);
        },
        .expected = {"000", "110", "222"},
        .possible = {"100", "020", "220"},
    });
  }

  TEST_CASE("every change includes each system call, before and after") {
    const Report report = examine({
        .name = "toy: a system call",
        .operation = [] { syscall(SYS_getppid); },
        .check = [](const Moment& moment) { return std::to_string(moment.step); },
        .expected = {"0", "1", "2"},
        .at = At::every_change,
    });
    CHECK(report.passed());
    CHECK(report.kill_points == 3);
  }

  TEST_CASE("a budget leaves points out, evenly, and says so") {
    const bool is_lifted = std::getenv("KIN_CRASH_FULL") != nullptr;
    unsetenv("KIN_CRASH_FULL");
    const Toybox box;
    const Report report = examine({
        .name = "toy: too long",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              for (int i = 0; i != 2000; ++i) {
                ++box->first;
              }
            },
        .check = [&](const Moment&) { return box->first < 1000 ? "first half" : "second half"; },
        .expected = {"first half", "second half"},
        .budget = 1s,
    });
    CHECK(report.passed());
    CHECK(report.left_out > 0);
    if (is_lifted) setenv("KIN_CRASH_FULL", "1", 1);
  }

#if defined(__x86_64__)
  TEST_CASE("bulk copies are sampled") {
    const Toybox box;
    const Report report = examine({
        .name = "toy: rep movsb",
        .operation =
            [&] {
              const std::array<char, 4096> source{};
              const void* from = source.data();
              void* to = box->bulk.data();
              std::size_t count = source.size();
              asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
            },
        .check = [](const Moment&) { return "copied"; },
        .expected = {"copied"},
        .bulk = 512,
        .budget = 20s,
    });
    CHECK(report.passed());
    CHECK(report.steps > 4096);
    CHECK(report.kill_points < 1000);
  }
#endif

  TEST_CASE("an operation that hangs by itself is found, awake or asleep") {
    const Toybox box;
    crash::Scenario scenario{
        .name = "toy: waits for nothing, awake",
        .prepare = [&] { box.clear(); },
        .operation =
            [&] {
              while (box->flag == 0) {
              }
            },
        .check = [](const Moment&) { return "done"; },
        .expected = {"done"},
        .patience = 200ms,
    };
    CHECK(mentions(examine(scenario), "the operation hangs"));

    scenario.name = "toy: waits for nothing, asleep";
    scenario.operation = [&] { sleep_while_zero(box->word); };
    const Report report = examine(scenario);
    CHECK(mentions(report, "the operation hangs"));
    CHECK(mentions(report, "at syscall"));
  }
}
