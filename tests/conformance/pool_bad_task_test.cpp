// SPDX-License-Identifier: BSL-1.0
//
// Tasks that misbehave: each has the documented outcome, costs nobody else anything, and the pool goes on.
//
// Fails when:
//   leave_if_copy() does nothing: "a task that returns twice …"
//   has_done_enough() does not look at the memory: "a worker with too much memory"
//   keeps_progress() is has_limits(): "retries"
//   death() leaves out the pool's name, or what to do: "the text of a death …"

#include "pool_trial.hpp"

#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace pool_trial;
using namespace trial;

namespace {

int end_worker(bool by_signal) {
  if (by_signal) std::raise(SIGUSR1);
  ::_exit(4);
}

}  // namespace

TEST_SUITE("pool_bad_task") {
  TEST_CASE_FIXTURE(Trial, "a task that ends its worker") {
    kin::Pool pool(2);
    const auto exits = death_of(pool.apply_async([]() -> int { std::exit(3); }));
    REQUIRE(exits);
    CHECK(exits->exit_code() == 3);
    CHECK(has(exits->what(), "exit code 3"));
    CHECK(goes_on(pool, 2));
    const auto exits_well = death_of(pool.apply_async([]() -> int { ::_exit(0); }));
    REQUIRE(exits_well);
    CHECK(exits_well->exit_code() == 0);

    // What the kernel does to have memory looks like this, but the kernel counts it.
    const auto killed = death_of(pool.apply_async([] { return std::raise(SIGKILL); }));
    REQUIRE(killed);
    CHECK(killed->exit_code() == -SIGKILL);
    CHECK(has(killed->what(), "SIGKILL"));
    CHECK_FALSE(has(killed->what(), "memory"));

    const auto aborts = death_of(pool.apply_async([]() -> int { std::abort(); }));
    REQUIRE(aborts);
    CHECK(aborts->exit_code() == -SIGABRT);
    if (!support::is_sanitized) {
      const auto faults = death_of(pool.apply_async([] {
        int* volatile nowhere = nullptr;
        return *nowhere;
      }));
      REQUIRE(faults);
      CHECK(faults->exit_code() == -SIGSEGV);
      CHECK(has(faults->what(), "SIGSEGV"));
    }
    const auto throws_too_late = death_of(pool.apply_async([]() noexcept -> int {
      be_quiet();
      return fail("out of a noexcept function");
    }));
    REQUIRE(throws_too_late);
    CHECK(throws_too_late->exit_code() == -SIGABRT);
    CHECK(goes_on(pool, 2));
  }

  // Who reads only the text knows what to look for, where, and what could be done.
  TEST_CASE_FIXTURE(
      Trial, "the text of a death names the function, the worker, the signal and what to do") {
    kin::Pool pool({.processes = 1, .name = "careful"});
    for (const bool is_signal : {true, false}) {
      const auto worker = pool.worker_pids();
      REQUIRE(worker.size() == 1);
      const auto death = death_of(pool.apply_async(end_worker, is_signal));
      REQUIRE(death);
      const std::string text = death->what();
      INFO(text);
      CHECK(death->pid() == worker.front());
      CHECK(
          has(text, ("worker process " + std::to_string(worker.front()) + " of careful").c_str()));
      CHECK(has(text, is_signal ? "killed by SIGUSR1 (User defined signal 1)" : "exit code 4"));
      CHECK(has(text, "int (*)(bool)"));
      CHECK(has(text, "The pool goes on"));
      CHECK(has(text, "`retries`"));
      CHECK(goes_on(pool, 1));
    }
    const auto worker = pool.worker_pids();
    REQUIRE(worker.size() == 1);
    const std::string late = failure_of(pool.apply_async({.timeout = 50ms}, sleep_for_ever));
    INFO(late);
    CHECK(has(late, "int (*)()"));
    CHECK(has(late, "50 ms"));
    CHECK(has(late, ("pid " + std::to_string(worker.front())).c_str()));
  }

  // A chunk of a map is one task; of imap() it has one outcome.
  TEST_CASE_FIXTURE(Trial, "a death in a map") {
    kin::Pool pool(2);
    const auto die_at_five = [](int x) {
      if (x == 5) std::raise(SIGKILL);
      return x * x;
    };
    CHECK_THROWS_AS(
        static_cast<void>(pool.map({.chunk_size = 2}, die_at_five, std::views::iota(0, 10))),
        kin::WorkerDied);
    auto results = pool.imap(die_at_five, std::views::iota(0, 10));
    for (int i = 0; i < 10; ++i) {
      if (i == 5) {
        CHECK_THROWS_AS(static_cast<void>(results.next_for(patience)), kin::WorkerDied);
      } else {
        CHECK(results.next_for(patience) == i * i);
      }
    }
    CHECK_FALSE(results.next());
    CHECK(goes_on(pool, 2));
  }

  TEST_CASE_FIXTURE(Trial, "retries") {
    kin::Pool pool(2);
    const kin::Queue<int> runs;
    const auto die_until = [](const kin::Queue<int>& told, int run) {
      told.put(::getpid());
      if (static_cast<int>(told.size()) < run) std::raise(SIGKILL);
      return run;
    };
    CHECK(pool.apply({.retries = 5}, die_until, runs, 4) == 4);
    CHECK(runs.size() == 4);
    const auto death = death_of(pool.apply_async({.retries = 2}, die_until, runs, 100));
    REQUIRE(death);
    CHECK(runs.size() == 7);
    // An exception is an answer, and no death.
    const kin::Queue<int> throws;
    CHECK_THROWS_AS(static_cast<void>(pool.apply(
                        {.retries = 2},
                        [](const kin::Queue<int>& told) -> int {
                          told.put(1);
                          throw std::runtime_error("no");
                        },
                        throws)),
                    std::runtime_error);
    CHECK(throws.size() == 1);
    // Those items of a map that were done before the death are not done again. Few, and so many that
    // their results have a place of their own.
    for (const int count : {6, 1'000, 100'000}) {
      const kin::Queue<int> items;
      const auto die_once = [](const kin::Queue<int>& told, int item) {
        if (item < 6) {
          told.put(item);
          if (told.size() == 5) std::raise(SIGKILL);
        }
        return item * 3;
      };
      const auto results = pool.map({.chunk_size = count, .retries = 1},
                                    kin::partial(die_once, items), std::views::iota(0, count));
      REQUIRE(results.size() == static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == i * 3);
      CHECK(items.size() == 7);
    }
    CHECK(goes_on(pool, 2));
  }

  TEST_CASE_FIXTURE(Trial, "exceptions that the parent does not know") {
    kin::Pool pool(1);
    const auto remote_of = [&](auto task) -> std::pair<std::string, std::string> {
      try {
        pool.apply(task);
      } catch (const kin::RemoteError& error) {
        CHECK(error.pid() == pool.worker_pids().front());
        return {error.type_name(), error.message()};
      }
      return {};
    };
    const auto [type, message] = remote_of([] { throw OfTheTask(); });
    CHECK(has(type, "OfTheTask"));
    CHECK(message == "why");
    CHECK(remote_of([] { throw 5; }) == std::pair<std::string, std::string>("int", "5"));
    CHECK(remote_of([] { throw std::string("text"); }).second == "text");
    CHECK(remote_of([] { throw "literal"; }).second == "literal");
    CHECK(remote_of([] { throw std::make_shared<int>(1); }).second.empty());
    CHECK_THROWS_AS(pool.apply([] { throw std::bad_alloc(); }), std::bad_alloc);
    CHECK(goes_on(pool, 1));
  }

  TEST_CASE_FIXTURE(Trial, "what can't be read fails its own task") {
    kin::Pool pool(1);
    const auto workers = pool.worker_pids();
    const auto take = [](const Unreadable&) { return 1; };
    CHECK(failure_of(pool.apply_async(take, Unreadable())) == "can't be read");
    CHECK(failure_of(pool.map_async(take, std::vector<Unreadable>(3))) == "can't be read");
    CHECK(failure_of(pool.apply_async([] { return Unreadable(); })) == "can't be read");
    CHECK(pool.apply(square, 3) == 9);
    CHECK(pool.worker_pids() == workers);
  }

  TEST_CASE_FIXTURE(Trial, "a task that makes processes") {
    kin::Pool pool(2);
    CHECK(pool.apply([] {
      kin::Process child([] { std::exit(7); });
      child.start();
      return end_of(child).value_or(-1);
    }) == 7);
    // One that nobody joins ends with its worker, or before.
    pool.apply([] {
      static std::vector<kin::Process> left;
      left.emplace_back(kin::ProcessOptions{.daemon = true}, [] { sleep_for_ever(); });
      left.back().start();
    });
    CHECK(pool.apply([] {
      const pid_t child = ::fork();
      if (child == 0) ::_exit(5);
      int status = 0;
      return ::waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : -1;
    }) == 5);
    CHECK(goes_on(pool, 2));
    pool.close();
    CHECK(pool.join_for(patience));
  }

  // The task returns in both. The copy is no worker: it answers nobody, and takes nothing.
  TEST_CASE_FIXTURE(Trial, "a task that returns twice, as it has forked") {
    kin::Pool pool(1);
    const auto workers = pool.worker_pids();
    for (int i = 0; i < 20; ++i) {
      const int copy = pool.apply([] {
        const pid_t child = ::fork();
        if (child != 0) {
          // The copy ends first.
          int status = 0;
          expect(::waitpid(child, &status, 0) == child);
        }
        return static_cast<int>(child);
      });
      CHECK(copy > 0);
      CHECK(pool.apply(own_pid) == workers.front());
    }
    CHECK(pool.worker_pids() == workers);
  }

  TEST_CASE_FIXTURE(Trial, "a pool inside of a task") {
    kin::Pool pool(2);
    const auto inner = [](int x) {
      kin::Pool own(2);
      return own.apply(square, x) + own.apply(square, 1);
    };
    CHECK(pool.map({.chunk_size = 1}, inner, {1, 2, 3}) == std::vector<int>{2, 5, 10});
    // The inner pool's workers die with the worker that made it.
    const kin::Queue<pid_t> pids;
    CHECK(death_of(pool.apply_async(
        [](const kin::Queue<pid_t>& told) -> int {
          kin::Pool own(2);
          for (const pid_t pid : own.worker_pids()) told.put(pid);
          std::raise(SIGKILL);
          return 0;
        },
        pids)));
    CHECK(pids.size() == 2);
    while (const auto pid = pids.try_get()) {
      CHECK(eventually([&] { return ::kill(*pid, 0) == -1; }));
    }
    CHECK(goes_on(pool, 2));
  }

  TEST_CASE_FIXTURE(Trial, "time limits") {
    kin::Pool pool(1);
    const auto begun = std::chrono::steady_clock::now();
    const auto limited = pool.apply_async({.timeout = 100ms}, sleep_for_ever);
    REQUIRE(limited.wait_for(patience));
    CHECK(std::chrono::steady_clock::now() - begun >= 100ms);
    CHECK_THROWS_AS(static_cast<void>(limited.get()), kin::TimeoutError);
    CHECK(has(failure_of(limited), "100 ms"));
    CHECK(goes_on(pool, 1));
    // A task that asks may end well.
    const auto until_asked = [] {
      expect(!kin::stop_requested());
      expect(eventually(kin::stop_requested));
      return 3;
    };
    CHECK(pool.apply({.timeout = patience, .soft_timeout = 50ms}, until_asked) == 3);
    CHECK(pool.apply({.soft_timeout = patience}, kin::stop_requested) == false);
    CHECK(pool.apply(kin::stop_requested) == false);
    CHECK_FALSE(kin::stop_requested());
    // Limits are each item's, and who keeps within them is let be.
    const auto short_naps = [](int x) {
      std::this_thread::sleep_for(20ms);
      return x;
    };
    CHECK(pool.map({.chunk_size = 5, .timeout = patience}, short_naps, {1, 2, 3, 4, 5}).size() ==
          5);
    // A limit that passes is no death: nothing is run again.
    const kin::Queue<int> runs;
    CHECK_THROWS_AS(static_cast<void>(pool.apply(
                        {.timeout = 50ms, .retries = 3},
                        [](const kin::Queue<int>& told) {
                          told.put(1);
                          return sleep_for_ever();
                        },
                        runs)),
                    kin::TimeoutError);
    CHECK(runs.size() == 1);
    // The longest is none.
    CHECK(pool.apply({.timeout = std::chrono::nanoseconds::max()}, square, 3) == 9);
    CHECK(goes_on(pool, 1));
  }

  TEST_CASE_FIXTURE(Trial, "a worker with too much memory") {
    kin::Pool pool({.processes = 1, .max_memory_per_child = std::size_t{256} << 20});
    const auto own = pool.apply(own_pid);
    CHECK(pool.apply(own_pid) == own);
    const auto keep = [](std::size_t size) {
      static std::vector<std::vector<char>> kept;
      kept.emplace_back(size, 'x');
      return static_cast<int>(::getpid());
    };
    const auto greedy = pool.apply(keep, std::size_t{320} << 20);
    if (!support::is_sanitized) CHECK(greedy == own);
    CHECK(pool.apply(own_pid) != greedy);
    CHECK(goes_on(pool, 1));
  }
}
