// SPDX-License-Identifier: BSL-1.0
//
// as_completed(), against CPython's AsCompletedTests.
//
// Fails when:
//   distinct() erases none: test_duplicate_futures
//   CompletedRange::next() copies the future: test_free_reference_yielded_future

#include "workers.hpp"

#include <list>
#include <memory>

using namespace trial;

TEST_SUITE("as_completed") {
  TEST_CASE_TEMPLATE("test_no_timeout", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const kin::Promise<int> called_off;
    const kin::Promise<int> kept;
    CHECK(called_off.get_future().cancel());
    kept.set_result(1);
    const std::vector futures{called_off.get_future(), kept.get_future(),
                              executor.submit(square, 2), executor.submit(fail_with, "no")};
    std::vector<kin::Future<int>> seen;
    for (const auto& future : kin::as_completed(futures)) {
      CHECK(future.done());
      seen.push_back(future);
    }
    CHECK(seen.size() == 4);
    for (const auto& future : futures) {
      CHECK(std::count(seen.begin(), seen.end(), future) == 1);
    }
  }

  TEST_CASE_TEMPLATE("test_future_times_out", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    const kin::Promise<int> called_off;
    const kin::Promise<int> kept;
    CHECK(called_off.get_future().cancel());
    kept.set_result(1);
    const std::vector futures{called_off.get_future(), kept.get_future(),
                              executor.submit(pass, gate, 2)};
    for (const auto limit : {0ms, 100ms}) {
      CAPTURE(limit.count());
      const auto begin = std::chrono::steady_clock::now();
      std::vector<kin::Future<int>> seen;
      const auto see_all = [&] {
        for (const auto& future : kin::as_completed(futures, limit)) seen.push_back(future);
      };
      CHECK_THROWS_AS(see_all(), kin::TimeoutError);
      CHECK(std::chrono::steady_clock::now() - begin >= limit);
      CHECK(seen == std::vector{futures[0], futures[1]});
    }
    gate.open();
  }

  TEST_CASE_TEMPLATE("test_duplicate_futures", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    const auto future = executor.submit(pass, gate, 7);
    const std::list futures{future, future, future};
    gate.open();
    int count = 0;
    for (const auto& one : kin::as_completed(futures)) {
      CHECK(one == future);
      ++count;
    }
    CHECK(count == 1);
  }

  TEST_CASE_FIXTURE(Trial, "test_free_reference_yielded_future") {
    std::vector<std::weak_ptr<int>> results;
    std::vector<kin::Future<std::shared_ptr<int>>> futures;
    for (int i = 0; i < 5; ++i) {
      const kin::Promise<std::shared_ptr<int>> promise;
      auto result = std::make_shared<int>(i);
      results.emplace_back(result);
      futures.push_back(promise.get_future());
      promise.set_result(std::move(result));
    }
    auto range = kin::as_completed(std::exchange(futures, {}));
    std::ptrdiff_t left = std::ssize(results);
    for (auto at = range.begin(); at != range.end(); ++at) {
      auto future = std::move(*at);
      const std::weak_ptr<int> result = future.result();
      CHECK_FALSE(result.expired());
      future = {};
      CHECK(result.expired());
      --left;
      CHECK(std::ranges::count_if(results, [](const auto& one) { return !one.expired(); }) == left);
    }
    CHECK(left == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_correct_timeout_exception_msg") {
    const kin::Promise<int> called_off;
    const kin::Promise<int> pending;
    const kin::Promise<int> running;
    const kin::Promise<int> kept;
    CHECK(called_off.get_future().cancel());
    CHECK(running.begin());
    kept.set_result(1);
    const std::vector futures{called_off.get_future(), pending.get_future(), running.get_future(),
                              kept.get_future()};
    const auto see_all = [&] {
      for (const auto& future : kin::as_completed(futures, 0s)) CHECK(future.done());
    };
    CHECK_THROWS_WITH_AS(see_all(), "2 (of 4) futures unfinished", kin::TimeoutError);
  }
}
