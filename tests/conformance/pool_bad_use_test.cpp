// SPDX-License-Identifier: BSL-1.0
//
// Makers of pools that misuse them: callbacks that throw or use their pool, forks, futures that are left,
// several who end one pool at once.
//
// Fails when:
//   settle() does not ask for the phase: "what is pending is cancelled …"
//   ThreadEngine::end() does not ask whose process it is: "a pool in a forked child"
//   join() does not look for is_here(): "a callback that uses its pool"
//   call_observers() catches std::exception only: "a callback that throws"
//   bury_tasks() ends what is being queued in vain: "ended from several threads …", now and then

#include "pool_trial.hpp"

#include <atomic>
#include <future>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

using namespace pool_trial;
using namespace trial;

TEST_SUITE("pool_bad_use") {
  TEST_CASE_TEMPLATE("a callback that throws", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    Logged logged;
    Pool pool(2);
    const auto future = pool.apply_async(
        {.callback = [](const int&) { throw std::runtime_error("in the callback"); }}, square, 3);
    CHECK(future.get_for(patience) == 9);
    CHECK(has(logged.next(), "in the callback"));
    const auto other = pool.apply_async({.callback = [](const int&) { throw 5; }}, square, 4);
    CHECK(other.get_for(patience) == 16);
    CHECK_FALSE(logged.next().empty());
    // An error that the callback does not take, as it is no std::exception.
    std::atomic<bool> was_called = false;
    const auto failed =
        pool.apply_async({.error_callback = [&](const std::exception&) { was_called = true; }},
                         []() -> int { throw 7; });
    REQUIRE(failed.wait_for(patience));
    CHECK(was_called == std::same_as<Pool, kin::Pool>);
    CHECK(pool.apply(square, 5) == 25);
    pool.close();
    CHECK(pool.join_for(patience));
  }

  TEST_CASE_TEMPLATE("a callback that uses its pool", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    // Submits, and waits for what it has submitted.
    {
      Pool pool(2);
      std::atomic<int> result = 0;
      kin::Future<int> second;
      const auto first = pool.apply_async(
          {.callback =
               [&](const int& nine) {
                 second = pool.apply_async({.callback = [&](const int& value) { result = value; }},
                                           square, nine);
                 static_cast<void>(pool.apply(square, 1));
               }},
          square, 3);
      CHECK(first.get_for(patience) == 9);
      CHECK(second.get_for(patience) == 81);
      CHECK(result == 81);
    }
    // Joins.
    {
      Pool pool(2);
      std::atomic<int> refusals = 0;
      const auto future = pool.apply_async({.callback =
                                                [&](const int&) {
                                                  try {
                                                    pool.close();
                                                    pool.join();
                                                  } catch (const std::logic_error&) {
                                                    ++refusals;
                                                  }
                                                }},
                                           square, 3);
      CHECK(future.get_for(patience) == 9);
      CHECK(refusals == 1);
      CHECK(pool.join_for(patience));
    }
    // Terminates.
    {
      Pool pool(2);
      const Gate gate;
      std::vector<kin::Future<int>> waiting;
      const auto future =
          pool.apply_async({.callback = [&](const int&) { pool.terminate(); }}, square, 3);
      CHECK(future.get_for(patience) == 9);
      CHECK_THROWS_AS(static_cast<void>(pool.apply_async(square, 3)), std::logic_error);
      CHECK(pool.join_for(patience));
    }
  }

  TEST_CASE_FIXTURE(Trial, "a range of results has no callbacks, and says so") {
    kin::Pool pool(1);
    const std::vector<int> items{1, 2};
    CHECK_THROWS_AS(
        static_cast<void>(pool.imap({.progress = [](const kin::Progress&) {}}, square, items)),
        std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(pool.imap_unordered(
                        {.error_callback = [](const std::exception_ptr&) {}}, square, items)),
                    std::invalid_argument);
    CHECK_THROWS_AS(
        static_cast<void>(pool.imap({.callback = [](const std::vector<int>&) {}}, square, items)),
        std::invalid_argument);
    int sum = 0;
    for (const int one : pool.imap({.chunk_size = 2}, square, items)) sum += one;
    CHECK(sum == 5);
  }

  TEST_CASE_FIXTURE(Trial, "what is pending is cancelled, and its callbacks are called") {
    kin::Pool pool(1);
    std::vector<std::string> errors;  // by one thread, before join() returns
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 20; ++i) {
      futures.push_back(pool.apply_async(
          {.error_callback =
               [&](const std::exception& error) { errors.emplace_back(error.what()); }},
          sleep_for_ever));
    }
    pool.terminate();
    REQUIRE(pool.join_for(patience));
    CHECK(errors.size() == 20);
    for (const auto& future : futures) {
      REQUIRE(future.ready());
      CHECK(future.cancelled());
      CHECK_THROWS_AS(static_cast<void>(future.get()), kin::CancelledError);
    }
  }

  TEST_CASE_TEMPLATE("a pool in a forked child", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    Pool pool(2);
    const Gate gate;
    const auto done = pool.apply_async(square, 3);
    REQUIRE(done.wait_for(patience));
    const auto waiting = pool.apply_async(wait_at, gate);
    const auto refuses = [](const auto& use) {
      try {
        use();
      } catch (const std::logic_error&) {
        return true;
      }
      return false;
    };
    const auto use_copy = [&] {
      expect(refuses([&] { static_cast<void>(pool.apply_async(square, 3)); }));
      expect(refuses([&] { static_cast<void>(pool.apply(square, 3)); }));
      expect(refuses([&] { static_cast<void>(pool.map(square, {1, 2, 3})); }));
      expect(refuses([&] { pool.close(); }));
      expect(refuses([&] { pool.join(); }));
      expect(refuses([&] { static_cast<void>(pool.join_for(1s)); }));
      if constexpr (std::same_as<Pool, kin::Pool>) {
        expect(refuses([&] { static_cast<void>(waiting.get()); }));
        expect(refuses([&] { static_cast<void>(waiting.cancel()); }));
      }
      pool.terminate();
      const Pool copy = std::move(pool);  // its end must not end the original
    };
    CHECK(outcome(use_copy) == 0);
    gate.put(7);
    CHECK(waiting.get_for(patience) == 7);
    CHECK(pool.apply(square, 4) == 16);
    // One that was closed, and has work left.
    const auto last = pool.apply_async(wait_at, gate);
    pool.close();
    CHECK(outcome([&] { const Pool copy = std::move(pool); }) == 0);
    gate.put(8);
    CHECK(pool.join_for(patience));
    CHECK(last.get_for(patience) == 8);
  }

  TEST_CASE_TEMPLATE("futures that outlive their pool", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    const auto greet = [](const std::string& name) { return "hello " + name; };
    kin::Future<std::string> done;
    kin::Future<std::vector<int>> map;
    kin::Future<int> running;
    kin::Future<int> failed;
    kin::Future<int> pending;
    {
      Pool pool(1);
      const Gate gate;
      done = pool.apply_async(greet, "Ada");
      map = pool.map_async(square, {1, 2, 3});
      failed = pool.apply_async([]() -> int { throw std::out_of_range("no"); });
      REQUIRE(failed.wait_for(patience));
      REQUIRE(map.wait_for(patience));
      const auto begin = [](const Gate& told, const Gate& own_gate) {
        told.put(1);
        return wait_at(own_gate);
      };
      const Gate begun;
      running = pool.apply_async(begin, begun, gate);
      REQUIRE(begun.get_for(patience));
      pending = pool.apply_async(square, 4);
      pool.terminate();
      if constexpr (std::same_as<Pool, kin::ThreadPool>) gate.put(8);
    }
    CHECK(done.get() == "hello Ada");
    CHECK(map.get() == std::vector<int>{1, 4, 9});
    CHECK_THROWS_AS(static_cast<void>(failed.get()), std::out_of_range);
    REQUIRE(running.ready());
    // A thread can't be ended.
    if constexpr (std::same_as<Pool, kin::Pool>) {
      CHECK_THROWS_AS(static_cast<void>(running.get()), kin::CancelledError);
    } else {
      CHECK(running.get() == 8);
    }
    CHECK_THROWS_AS(static_cast<void>(pending.get()), kin::CancelledError);
    CHECK(pending.cancel());
    CHECK_FALSE(done.cancel());
    CHECK_THROWS_AS(static_cast<void>(kin::Future<int>().get()), std::logic_error);
  }

  TEST_CASE_TEMPLATE("pools that were moved from", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    Pool pool(1);
    Pool moved = std::move(pool);
    CHECK(moved.apply(square, 3) == 9);
    // NOLINTBEGIN(bugprone-use-after-move)
    CHECK_THROWS_AS(static_cast<void>(pool.apply(square, 3)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(pool.map(square, {1, 2})), std::logic_error);
    CHECK_THROWS_AS(pool.close(), std::logic_error);
    CHECK_THROWS_AS(pool.join(), std::logic_error);
    pool.terminate();
    // NOLINTEND(bugprone-use-after-move)
    pool = Pool(1);
    CHECK(pool.apply(square, 4) == 16);
    moved = std::move(pool);  // the one before has ended
    CHECK(moved.apply(square, 5) == 25);
  }

  TEST_CASE_TEMPLATE("ended from several threads at once", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    for (int round = 0; round < 20; ++round) {
      Pool pool(2);
      std::mutex mutex;
      std::vector<kin::Future<int>> futures;
      const auto submit = [&] {
        try {
          while (true) {
            const auto future = pool.apply_async(square, 3);
            const std::scoped_lock lock(mutex);
            futures.push_back(future);
          }
        } catch (const std::logic_error&) {  // NOLINT(bugprone-empty-catch): it was closed
        }
      };
      const auto join = [&] {
        return eventually([&] {
          try {
            return pool.join_for(patience);
          } catch (const std::logic_error&) {
            return false;  // it is open
          }
        });
      };
      const auto futures_are_there = [&](std::size_t count) {
        return eventually([&, count] {
          const std::scoped_lock lock(mutex);
          return futures.size() >= count;
        });
      };
      std::vector<std::future<void>> submitters;
      for (int i = 0; i < 2; ++i) submitters.push_back(std::async(std::launch::async, submit));
      std::vector<std::future<bool>> joiners;
      for (int i = 0; i < 2; ++i) joiners.push_back(std::async(std::launch::async, join));
      CHECK(futures_are_there(static_cast<std::size_t>(round) * 10));
      std::vector<std::future<void>> enders;
      enders.push_back(std::async(std::launch::async, [&] { pool.close(); }));
      if (round % 2 == 0) {
        enders.push_back(std::async(std::launch::async, [&] { pool.terminate(); }));
        enders.push_back(std::async(std::launch::async, [&] { pool.terminate(); }));
      }
      for (auto& one : enders) one.get();
      for (auto& one : submitters) one.get();
      for (auto& one : joiners) CHECK(one.get());
      for (const auto& future : futures) {
        REQUIRE(future.ready());
        if (future.cancelled()) {
          CHECK(round % 2 == 0);
        } else {
          CHECK(future.get() == 9);
        }
      }
    }
  }
}
