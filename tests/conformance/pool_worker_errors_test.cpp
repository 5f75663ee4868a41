// SPDX-License-Identifier: BSL-1.0
//
// Pools whose tasks fail, against CPython's _TestPoolWorkerErrors.
//
// Fails when:
//   give_exception() does not ask for as_failed_result(): test_unpickleable_result

#include "trial.hpp"

#include <string>
#include <vector>

#include <unistd.h>

using namespace trial;

namespace {

// Once it has left its worker's hands it can't be written, though its type says that it can.
struct Unsendable {
  template <typename Archive>
  void serialize(Archive& /*archive*/, unsigned /*version*/) {
    throw std::runtime_error("this value stays here");
  }
};

}  // namespace

TEST_SUITE("pool_worker_errors") {
  TEST_CASE_FIXTURE(Trial, "test_async_error_callback") {
    kin::Pool pool(2);
    std::exception_ptr told;
    const auto future = pool.apply_async(
        {.error_callback = [&](std::exception_ptr error) { told = std::move(error); }},
        []() -> int { throw std::out_of_range("no such thing"); });
    REQUIRE(future.wait_for(patience));
    CHECK_THROWS_WITH_AS(static_cast<void>(future.get()), "no such thing", std::out_of_range);
    REQUIRE(told);
    CHECK_THROWS_WITH_AS(std::rethrow_exception(told), "no such thing", std::out_of_range);
    pool.close();
    CHECK(pool.join_for(patience));
  }

  // MaybeEncodingError is a SerializationError here. There is no text of the value, as not every type
  // has one.
  TEST_CASE_FIXTURE(Trial, "test_unpickleable_result") {
    kin::Pool pool(2);
    const auto workers = pool.worker_pids();
    for (int i = 0; i < 20; ++i) {
      std::string told;
      const auto future = pool.apply_async(
          {.error_callback = [&](const std::exception& error) { told = error.what(); }},
          [] { return Unsendable(); });
      REQUIRE(future.wait_for(patience));
      const char* text = "the task's result can't be sent: this value stays here";
      CHECK_THROWS_WITH_AS(static_cast<void>(future.get()), text, kin::SerializationError);
      CHECK(told == text);
    }
    CHECK(pool.worker_pids() == workers);
    // In a map it is no other.
    CHECK_THROWS_AS(
        static_cast<void>(pool.map({.chunk_size = 2}, [](int) { return Unsendable(); }, {1, 2, 3})),
        kin::SerializationError);
    CHECK(pool.worker_pids() == workers);
    pool.close();
    CHECK(pool.join_for(patience));
  }
}
