// SPDX-License-Identifier: BSL-1.0
//
// wait() for futures, against CPython's WaitTests.
//
// Fails when:
//   distinct() erases none: test_20369

#include "workers.hpp"

using namespace trial;

namespace {

template <typename T>
std::vector<bool> are_in(const std::vector<kin::Future<T>>& found,
                         const std::vector<kin::Future<T>>& wanted) {
  std::vector<bool> all;
  for (const auto& future : wanted) {
    all.push_back(std::find(found.begin(), found.end(), future) != found.end());
  }
  return all;
}

}  // namespace

TEST_SUITE("futures_wait") {
  TEST_CASE_TEMPLATE("test_20369", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const auto future = executor.submit(square, 2);
    const std::vector futures{future, future};
    const auto result = kin::wait(futures, patience, kin::all_completed);
    CHECK(result.done == std::vector{future});
    CHECK(result.not_done.empty());
  }

  // A future that is cancelled is over at once here, so the one of the row that nobody was told of is
  // another one that is pending.
  TEST_CASE_TEMPLATE("test_first_completed", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const kin::Promise<int> pending;
    Executor executor(2);
    const Gate first;
    const Gate second;
    const std::vector futures{pending.get_future(), executor.submit(pass, first, 1),
                              executor.submit(pass, second, 2)};
    static_cast<void>(first.await_one());
    static_cast<void>(second.await_one());
    CHECK(kin::wait(futures, 0s, kin::first_completed).done.empty());
    first.open();
    const auto result = kin::wait(futures, patience, kin::first_completed);
    CHECK(result.done == std::vector{futures[1]});
    CHECK(result.not_done == std::vector{futures[0], futures[2]});
    second.open();
  }

  TEST_CASE_TEMPLATE("test_first_completed_some_already_completed", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const kin::Promise<int> pending;
    const kin::Promise<int> called_off;
    CHECK(called_off.get_future().cancel());
    const std::vector futures{called_off.get_future(), executor.submit(square, 2),
                              pending.get_future()};
    CHECK(ends(futures[1]));
    const auto result = kin::wait(futures, patience, kin::first_completed);
    CHECK(are_in(result.done, futures) == std::vector{true, true, false});
    CHECK(result.not_done == std::vector{futures[2]});
  }

  TEST_CASE_TEMPLATE("test_first_exception", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const Gate gate;
    const kin::Promise<int> pending;
    const std::vector futures{executor.submit(square, 2), executor.submit(pass_and_fail, gate),
                              pending.get_future()};
    CHECK(ends(futures[0]));
    // What has a result is not enough.
    CHECK(kin::wait(futures, 1ms, kin::first_exception).not_done.size() == 2);
    gate.open();
    const auto result = kin::wait(futures, patience, kin::first_exception);
    CHECK(result.done == std::vector{futures[0], futures[1]});
    CHECK(result.not_done == std::vector{futures[2]});
  }

  TEST_CASE_TEMPLATE("test_first_exception_some_already_complete", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    const kin::Promise<int> pending;
    const kin::Promise<int> called_off;
    const kin::Promise<int> kept;
    CHECK(called_off.get_future().cancel());
    kept.set_result(1);
    const std::vector futures{kept.get_future(), called_off.get_future(),
                              executor.submit(pass_and_fail, gate), pending.get_future()};
    gate.open();
    const auto result = kin::wait(futures, patience, kin::first_exception);
    CHECK(are_in(result.done, futures) == std::vector{true, true, true, false});
    CHECK(result.not_done == std::vector{futures[3]});
  }

  TEST_CASE_TEMPLATE("test_first_exception_one_already_failed", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    const kin::Promise<int> failed;
    failed.set_exception(std::domain_error("no"));
    const std::vector futures{failed.get_future(), executor.submit(pass, gate, 1)};
    const auto result = kin::wait(futures, patience, kin::first_exception);
    CHECK(result.done == std::vector{futures[0]});
    CHECK(result.not_done == std::vector{futures[1]});
    gate.open();
  }

  TEST_CASE_TEMPLATE("test_all_completed", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const Gate gate;
    const kin::Promise<int> called_off;
    CHECK(called_off.get_future().cancel());
    const std::vector futures{executor.submit(fail_with, "no"), called_off.get_future(),
                              executor.submit(square, 2), executor.submit(pass, gate, 1)};
    gate.open();
    const auto result = kin::wait(futures, patience, kin::all_completed);
    CHECK(result.done == futures);
    CHECK(result.not_done.empty());
    CHECK(kin::wait(futures).done == futures);
  }

  TEST_CASE_TEMPLATE("test_timeout", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    const kin::Promise<int> kept;
    kept.set_result(1);
    const std::vector futures{kept.get_future(), executor.submit(pass, gate, 2)};
    const auto begin = std::chrono::steady_clock::now();
    const auto result = kin::wait(futures, 50ms, kin::all_completed);
    CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
    CHECK(result.done == std::vector{futures[0]});
    CHECK(result.not_done == std::vector{futures[1]});
    gate.open();
  }
}
