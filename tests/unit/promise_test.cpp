// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/promise.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

TEST_SUITE("promise") {
  using namespace unit;

  TEST_CASE("a promise is kept with a result") {
    const kin::Promise<std::string> promise;
    const kin::Future<std::string> future = promise.get_future();
    CHECK_FALSE(future.ready());
    CHECK_FALSE(future.try_get());
    promise.set_result("done");
    CHECK(future.get() == "done");
    CHECK(future == promise.get_future());

    const kin::Promise<void> nothing;
    nothing.set_result();
    CHECK(nothing.get_future().try_get());
  }

  TEST_CASE("results need not be copied, nor travel") {
    const kin::Promise<std::unique_ptr<int>> promise;
    kin::Future<std::unique_ptr<int>> future = promise.get_future();
    promise.set_result(std::make_unique<int>(7));
    CHECK(*std::move(future).get() == 7);
  }

  TEST_CASE("a promise is kept with an exception") {
    const kin::Promise<int> promise;
    promise.set_exception(std::out_of_range("far"));
    CHECK_THROWS_WITH_AS(static_cast<void>(promise.get_future().get()), "far", std::out_of_range);
    CHECK_FALSE(promise.get_future().successful());
  }

  TEST_CASE("a promise is kept once, also by threads that all try") {
    const kin::Promise<int> promise;
    std::atomic<int> refused{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        try {
          promise.set_result(i);
        } catch (const kin::InvalidStateError&) {
          ++refused;
        }
      });
    }
    threads.clear();
    CHECK(refused == 3);
    CHECK(promise.get_future().successful());
    const int kept = promise.get_future().get();
    CHECK_THROWS_AS(promise.set_exception(std::runtime_error("late")), kin::InvalidStateError);
    CHECK(promise.get_future().get() == kept);
  }

  TEST_CASE("a future that is cancelled is seen by its promise") {
    const kin::Promise<int> promise;
    CHECK(promise.get_future().cancel());
    CHECK_FALSE(promise.begin());
    CHECK_THROWS_AS(promise.set_result(1), kin::InvalidStateError);
    CHECK(promise.get_future().cancelled());

    const kin::Promise<int> begun;
    CHECK(begun.begin());
    CHECK_FALSE(begun.begin());
    CHECK_FALSE(begun.get_future().cancel());
    begun.set_result(1);
    CHECK(begun.get_future().get() == 1);
  }

  TEST_CASE("a promise that is gone leaves nobody waiting") {
    kin::Future<int> pending;
    kin::Future<int> running;
    kin::Future<int> kept;
    {
      const kin::Promise<int> first;
      const kin::Promise<int> second;
      kin::Promise<int> third;
      pending = first.get_future();
      running = second.get_future();
      CHECK(second.begin());
      third.set_result(3);
      kept = third.get_future();
      const kin::Promise<int> moved = std::move(third);
      CHECK_THROWS_AS(static_cast<void>(third.begin()), std::logic_error);
    }
    CHECK(pending.cancelled());
    CHECK_THROWS_AS(static_cast<void>(running.get()), kin::CancelledError);
    CHECK(kept.get() == 3);
  }
}
