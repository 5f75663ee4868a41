// SPDX-License-Identifier: BSL-1.0
//
// Children that run pools, against the row of TestStdinBadfiledescriptor that is about them.
//
// Fails when:
//   the nursery does not run(): all

#include "trial.hpp"

#include <numeric>

#include <unistd.h>

using namespace trial;

TEST_SUITE("stdin_badfiledescriptor") {
  TEST_CASE_FIXTURE(Trial, "test_pool_in_process") {
    const auto run_pool = [] {
      kin::Pool pool(4);
      const std::vector<int> results = pool.map([](int x) { return x * x; }, {1, 2, 3, 4, 5});
      expect(results == std::vector<int>{1, 4, 9, 16, 25});
    };
    CHECK(outcome(run_pool) == 0);
    // Better than the row: a daemon's child ends with the daemon, so it may have some.
    CHECK(outcome(kin::ProcessOptions{.daemon = true}, run_pool) == 0);
    // What the class is named after.
    CHECK(outcome([&] {
            ::close(STDIN_FILENO);
            run_pool();
          }) == 0);
  }
}
