// SPDX-License-Identifier: BSL-1.0
//
// A program that makes a pool and guards nothing, against CPython's TestNoForkBomb.
//
// Fails when:
//   the nursery does not run(): all

#include "trial.hpp"

using namespace trial;

TEST_SUITE("no_fork_bomb") {
  // A worker goes on in its own loop, and never back into what made the pool.
  TEST_CASE_FIXTURE(Trial, "test_noforkbomb") {
    const kin::Queue<int> passed;
    CHECK(outcome([passed] {
            passed.put(1);
            kin::Pool pool(1);
            passed.put(2);
            const int result = pool.apply([](int x) { return x + 23; }, 100);
            passed.put(result);
          }) == 0);
    CHECK(passed.try_get() == 1);
    CHECK(passed.try_get() == 2);
    CHECK(passed.try_get() == 123);
    CHECK(passed.empty());
  }
}
