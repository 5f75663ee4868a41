// SPDX-License-Identifier: BSL-1.0

// The harness on toys: protocols that are known to be broken must be found broken, and right ones
// right, or no crash test of kin would mean anything.

#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <iostream>
#include <utility>
#include <vector>

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using crash::At;
using crash::Moment;
using crash::Report;
using crash::With;
using namespace std::chrono_literals;

namespace {

struct Toy {
  std::atomic<int> first;
  std::atomic<int> second;
  std::atomic<int> intent;
  std::atomic<int> flag;
  std::atomic<std::uint32_t> word;
  std::array<char, 4096> bulk;

  void clear() {
    for (std::atomic<int>* number : {&first, &second, &intent, &flag}) {
      number->store(0);
    }
    word = 0;
  }
};

/// A page of its own, watched as a whole.
struct Toybox {
  crash::SharedPage<Toy> toy;

  void clear() const { toy->clear(); }
  std::vector<std::span<const std::byte>> watch() const {
    return {std::as_bytes(std::span(&*toy, 1))};
  }
  Toy* operator->() const { return &*toy; }
};

/// Sleeps while the word is zero, at most for a slice of time if there is one.
void sleep_while_zero(std::atomic<std::uint32_t>& word, const timespec* slice = nullptr) {
  while (word == 0) {
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, slice, nullptr, 0);
  }
}

void wake_one(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// Runs and prints without a verdict, for scenarios that are meant to fail.
Report examine(const crash::Scenario& scenario) {
  Report report = crash::run(scenario);
  std::cout << "(on trial) " << report << std::endl;
  return report;
}

bool mentions(const Report& report, const std::string& what) {
  for (const std::string& failure : report.failures) {
    if (failure.find(what) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

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
