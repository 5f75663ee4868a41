// SPDX-License-Identifier: BSL-1.0
//
// Pools that can't begin as they are asked to: what their maker is told.
//
// Fails when:
//   ThreadCrew::initialize() catches std::exception only: "an initializer that throws in a thread"
//   warn_of_threads() is not called: "a pool made among threads"
//   count_threads() counts kin's own: "a pool made among threads of kin's own"
//   start_own_thread() does not set is_here_: "a pool made in a callback"
//   limit_from() refuses nothing: "options that make no sense"
//   live() does not explain_break(): "an initializer that throws"

#include "pool_trial.hpp"

#include <atomic>
#include <csignal>
#include <future>
#include <string>
#include <vector>

using namespace pool_trial;
using namespace trial;

TEST_SUITE("pool_bad_start") {
  TEST_CASE("an initializer that throws") {
    const Trial frame;
    // Which says so on stderr, in each worker.
    CHECK(outcome([] {
            be_quiet();
            kin::Pool pool(
                {.processes = 2, .initializer = [] { throw std::runtime_error("no data"); }});
            expect(has(why_broken(pool), "no data"));
            expect(has(why_broken(pool), "no data"));
            expect(eventually([&] { return pool.worker_pids().empty(); }));
            pool.close();
            expect(pool.join_for(patience));
          }) == 0);
    CHECK(outcome([] {
            be_quiet();
            kin::Pool pool({.processes = 2, .initializer = [] { std::raise(SIGKILL); }});
            expect(!why_broken(pool).empty());
          }) == 0);
    // At first only: the pool goes on.
    CHECK(outcome([] {
            be_quiet();
            const kin::Queue<int> runs;
            kin::Pool pool({.processes = 2, .initializer = [runs] {
                              runs.put(1);
                              if (runs.size() <= 2) throw std::runtime_error("not yet");
                            }});
            expect(goes_on(pool, 2));
          }) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "an initializer that throws in a thread") {
    Logged logged;
    for (const bool is_exception : {true, false}) {
      kin::ThreadPool pool({.threads = 2, .initializer = [is_exception] {
                              if (is_exception) throw std::runtime_error("no data");
                              throw 5;
                            }});
      CHECK(has(why_broken(pool), is_exception ? "no data" : "no std::exception"));
      CHECK_FALSE(why_broken(pool).empty());
      pool.close();
      CHECK(pool.join_for(patience));
      CHECK(has(logged.next(), "initializer"));
    }
  }

  TEST_CASE_FIXTURE(Trial, "a pool made among threads") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    Logged logged;
    const Gate gate;
    auto thread = std::async(std::launch::async, [gate] { return wait_at(gate); });
    {
      kin::Pool pool({.processes = 2, .name = "late"});
      CHECK(goes_on(pool, 2));
    }
    const std::string line = logged.next();
    CHECK(has(line, "warning"));
    CHECK(has(line, "late"));
    CHECK(has(line, "threads"));
    gate.put(1);
    CHECK(thread.get() == 1);
  }

  // Which a fork does no harm to: of a pool's callbacks, of a manager's, and of one who left them behind.
  TEST_CASE_FIXTURE(Trial, "a pool made among threads of kin's own") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    if (!support::counts_threads_right) {
      std::puts(support::counts_threads_wrong);
      return;
    }
    Logged logged;
    std::atomic<int> calls = 0;
    const auto count = [&](const auto& /*result*/) { ++calls; };
    const Gate gate;
    kin::Pool first(1);
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const auto call =
        number.apply_async([](int& /*it*/, const Gate& at) { return wait_at(at); }, gate);
    CHECK(first.apply_async({.callback = count}, square, 3).get_for(patience) == 9);
    call.add_done_callback(count);
    {
      kin::Pool second(1);
      CHECK(second.apply_async({.callback = count}, square, 4).get_for(patience) == 16);
      const kin::Manager other;
      // In a child there are none of them.
      CHECK(outcome([&] {
              kin::Pool own(1);
              expect(own.apply(square, 5) == 25);
              expect(logged.is_empty());
              const Gate own_gate;
              auto thread =
                  std::async(std::launch::async, [own_gate] { return wait_at(own_gate); });
              const kin::Pool late(1);
              expect(has(logged.next(), "2 threads"));
              own_gate.put(1);
              expect(thread.get() == 1);
            }) == 0);
    }
    CHECK(logged.next() == "");
    gate.put(1);
    CHECK(call.get_for(patience) == 1);
    CHECK(eventually([&] { return calls == 3; }));
  }

  // It is the others there that may hold a lock.
  TEST_CASE_FIXTURE(Trial, "a pool made in a callback") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    Logged logged;
    kin::Pool pool(1);
    int result = 0;
    const auto use_another = [&](const int& nine) { result = kin::Pool(1).apply(square, nine); };
    CHECK(pool.apply_async({.callback = use_another}, square, 3).get_for(patience) == 9);
    CHECK(result == 81);
    CHECK(has(logged.next(), "2 threads"));
  }

  TEST_CASE_TEMPLATE("options that make no sense", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    CHECK_THROWS_AS(Pool(0), std::invalid_argument);
    CHECK_THROWS_AS(Pool(-1), std::invalid_argument);
    CHECK_THROWS_AS(Pool(1'000'000'000), std::invalid_argument);
    Pool pool(1);
    for (const std::ptrdiff_t size : {std::ptrdiff_t{0}, std::ptrdiff_t{-1}, PTRDIFF_MIN}) {
      CHECK_THROWS_AS(static_cast<void>(pool.map({.chunk_size = size}, square, {1, 2})),
                      std::invalid_argument);
      CHECK_THROWS_AS(
          static_cast<void>(pool.imap({.chunk_size = size}, square, std::vector<int>{1, 2})),
          std::invalid_argument);
    }
    CHECK(pool.map({.chunk_size = PTRDIFF_MAX}, square, {1, 2}) == std::vector<int>{1, 4});
    for (const auto limit : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
      CHECK_THROWS_AS(static_cast<void>(pool.apply({.timeout = limit}, square, 3)),
                      std::invalid_argument);
      CHECK_THROWS_AS(static_cast<void>(pool.apply({.soft_timeout = limit}, square, 3)),
                      std::invalid_argument);
      CHECK_THROWS_AS(static_cast<void>(pool.map({.timeout = limit}, square, {1, 2})),
                      std::invalid_argument);
    }
    CHECK_THROWS_AS(static_cast<void>(pool.apply({.retries = -1}, square, 3)),
                    std::invalid_argument);
    CHECK(pool.apply(square, 3) == 9);
  }
}
