// SPDX-License-Identifier: BSL-1.0
//
// Workers that end and are replaced, against CPython's _TestPoolWorkerLifetime.
//
// Fails when:
//   has_done_enough() does not count: test_pool_worker_lifetime, test_pool_worker_lifetime_early_close
//   the nursery is no daemon: test_worker_finalization_via_atexit_handler_of_multiprocessing
//   is_needed() says no once the pool is closed: test_pool_worker_lifetime_early_close

#include "trial.hpp"

#include "support/bystander.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include <unistd.h>

using namespace trial;

namespace {

int square(int x) { return x * x; }

bool is_gone(pid_t pid) {
  const char state = crash::process_state(pid);
  return state == '?' || state == 'Z';
}

}  // namespace

TEST_SUITE("pool_worker_lifetime") {
  TEST_CASE_FIXTURE(Trial, "test_pool_worker_lifetime") {
    kin::Pool pool({.processes = 3, .max_tasks_per_child = 10});
    auto before = pool.worker_pids();
    REQUIRE(before.size() == 3);
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 100; ++i) futures.push_back(pool.apply_async(square, i));
    for (int i = 0; i < 100; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i * i);
    // Whoever has done his share goes, and another comes.
    CHECK(eventually([&] {
      auto after = pool.worker_pids();
      return after.size() == 3 && after != before;
    }));
    CHECK(eventually([&] { return pool.worker_pids().size() == 3; }));
    CHECK(pool.apply(square, 7) == 49);
    pool.close();
    CHECK(pool.join_for(patience));
    CHECK(pool.worker_pids().empty());
  }

  // The tasks wait for each other's start: so most are not done when the pool is closed.
  TEST_CASE_FIXTURE(Trial, "test_pool_worker_lifetime_early_close") {
    kin::Pool pool({.processes = 3, .max_tasks_per_child = 1});
    const kin::Queue<int> gate;
    const auto square_behind = [](const kin::Queue<int>& own_gate, int x) {
      expect(own_gate.get_for(patience).has_value());
      return std::pair(x * x, ::getpid());
    };
    std::vector<kin::Future<std::pair<int, pid_t>>> futures;
    for (int i = 0; i < 6; ++i) futures.push_back(pool.apply_async(square_behind, gate, i));
    pool.close();
    for (int i = 0; i < 6; ++i) gate.put(i);
    REQUIRE(pool.join_for(patience));
    std::vector<pid_t> workers;
    for (int i = 0; i < 6; ++i) {
      const auto& future = futures[static_cast<std::size_t>(i)];
      REQUIRE(future.ready());
      CHECK(future.get().first == i * i);
      workers.push_back(future.get().second);
    }
    std::ranges::sort(workers);
    CHECK(std::ranges::adjacent_find(workers) == workers.end());
  }

  // A wrong type is an error of the compiler's.
  TEST_CASE_FIXTURE(Trial, "test_pool_maxtasksperchild_invalid") {
    for (const int invalid : {0, -1}) {
      CHECK_THROWS_AS(kin::Pool({.processes = 3, .max_tasks_per_child = invalid}),
                      std::invalid_argument);
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_worker_finalization_via_atexit_handler_of_multiprocessing") {
    enum class Way { destroyed_at_exit, never_destroyed, at_work, not_closed_but_left };
    for (const Way way :
         {Way::destroyed_at_exit, Way::never_destroyed, Way::at_work, Way::not_closed_but_left}) {
      CAPTURE(static_cast<int>(way));
      const kin::Queue<pid_t> workers;
      CHECK(outcome([&] {
              static kin::Pool* pool = nullptr;
              pool = new kin::Pool(4);
              expect(pool->apply(square, 5) == 25);
              for (const pid_t pid : pool->worker_pids()) workers.put(pid);
              if (way == Way::destroyed_at_exit) {
                expect(std::atexit([] { delete pool; }) == 0);
              }
              if (way == Way::at_work) {
                const kin::Queue<int> never;
                for (int i = 0; i < 10; ++i) {
                  static_cast<void>(pool->apply_async(
                      [](const kin::Queue<int>& queue) { return queue.get(); }, never));
                }
              }
              if (way != Way::not_closed_but_left) std::exit(0);
            }) == 0);
      CHECK(workers.size() == 4);
      while (const auto pid = workers.try_get()) {
        CHECK(eventually([&] { return is_gone(*pid); }));
      }
    }
  }
}
