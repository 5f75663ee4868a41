// SPDX-License-Identifier: BSL-1.0
//
// Many workers, against CPython's MiscTestCase.
//
// Fails when:
//   PoolState::most_seats is 199: test_large_pool

#include "trial.hpp"

#include "support/sanitizer.hpp"

#include <numeric>
#include <ranges>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace trial;

TEST_SUITE("misc") {
  TEST_CASE_FIXTURE(Trial, "test_large_pool") {
    const kin::UniqueFd printed(::memfd_create("stderr", MFD_CLOEXEC));
    REQUIRE(printed.get() >= 0);
    CHECK(outcome([&] {
            expect(::dup2(printed.get(), STDERR_FILENO) == STDERR_FILENO);
            kin::Pool pool(200);
            expect(pool.worker_pids().size() == 200);
            const std::vector<int> all =
                pool.map([](int x) { return x; }, std::views::iota(0, 1000));
            expect(std::accumulate(all.begin(), all.end(), 0) == 499'500);
            pool.close();
            expect(pool.join_for(patience));
          }) == 0);
    struct stat about {};
    REQUIRE(::fstat(printed.get(), &about) == 0);
    if (support::counts_threads_right) CHECK(about.st_size == 0);
  }
}
