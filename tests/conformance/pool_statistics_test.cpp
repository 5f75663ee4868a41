// SPDX-License-Identifier: BSL-1.0
//
// What a pool tells of its workers' work. Python has no such thing.
//
// Fails when:
//   do_task() counts what threw among what returned: "what returned and what threw …"
//   do_task() takes the time before the call only: "… how long it took"
//   a new worker begins with counts of its own: "who takes another's place …"

#include "pool_trial.hpp"

#include <chrono>
#include <stdexcept>
#include <vector>

#include <csignal>
#include <unistd.h>

using namespace pool_trial;
using namespace trial;

namespace {

int refuse() { return fail("no"); }
int nap() {
  std::this_thread::sleep_for(20ms);
  return 1;
}

kin::WorkerStatistics of_one(const kin::Pool& pool) {
  const kin::PoolStatistics all = pool.statistics();
  REQUIRE(all.workers.size() == 1);
  return all.workers.front();
}

// A worker counts behind the result.
bool has_measured(const kin::Pool& pool, std::uint64_t tasks) {
  return eventually([&] { return of_one(pool).running.count == tasks; });
}

}  // namespace

TEST_SUITE("pool_statistics") {
  TEST_CASE_FIXTURE(Trial, "what returned and what threw is counted, and how long it took") {
    kin::Pool pool(1);
    CHECK(of_one(pool).tasks == 0);
    CHECK(of_one(pool).running.longest == 0ns);
    for (int i = 0; i < 9; ++i) CHECK(pool.apply(square, i) == i * i);
    CHECK(pool.apply(nap) == 1);
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_AS(static_cast<void>(pool.apply(refuse)), std::runtime_error);
    }
    REQUIRE(has_measured(pool, 13));
    const kin::WorkerStatistics one = of_one(pool);
    CHECK(one.pid == pool.worker_pids().front());
    CHECK(one.tasks == 10);
    CHECK(one.failed == 3);
    CHECK(one.restarts == 0);
    CHECK(one.waiting.count == 13);
    for (const kin::Quantiles& times : {one.waiting, one.running}) {
      CHECK(times.half > 0ns);
      CHECK(times.half <= times.nine_of_ten);
      CHECK(times.nine_of_ten <= times.longest);
    }
    CHECK(one.running.longest >= 20ms);
  }

  TEST_CASE_FIXTURE(Trial, "who takes another's place goes on with its counts") {
    kin::Pool pool(1);
    CHECK(pool.apply(square, 3) == 9);
    REQUIRE(has_measured(pool, 1));
    const auto death = death_of(pool.apply_async([] { return std::raise(SIGKILL); }));
    REQUIRE(death);
    CHECK(pool.apply(square, 4) == 16);
    REQUIRE(has_measured(pool, 2));
    const kin::WorkerStatistics one = of_one(pool);
    CHECK(one.restarts == 1);
    CHECK(one.tasks == 2);
    CHECK(one.failed == 0);
    CHECK(one.pid != death->pid());
    CHECK(one.pid == pool.worker_pids().front());
  }

  TEST_CASE_FIXTURE(Trial, "each place has its own, and they add up") {
    kin::Pool pool(3);
    CHECK(pool.map({.chunk_size = 1}, square, std::views::iota(0, 100)).size() == 100);
    const auto sum = [&] {
      std::uint64_t tasks = 0;
      for (const auto& one : pool.statistics().workers) tasks += one.tasks;
      return tasks;
    };
    CHECK(pool.statistics().workers.size() == 3);
    CHECK(eventually([&] { return sum() == 100; }));
  }
}
