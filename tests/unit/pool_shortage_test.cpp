// SPDX-License-Identifier: BSL-1.0
//
// Pools where something can't be had: memory for a task, or a process for a worker.
//
// Fails when:
//   add_block() publishes its slots before it has memory for their tasks: a pool that had no memory …
//   ThreadCrew::queue() posts without the lock, or keeps the task when that throws: a pool of threads …
//   cancel_pending() copies the list: what a pool of threads is terminated with …

#include "frame.hpp"
#include "pool/pool_task.hpp"
#include "pool/worker_pool.hpp"
#include "scarce_memory.hpp"

#include <kin/error.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <set>
#include <string>
#include <typeinfo>
#include <vector>

namespace {

using namespace unit;
using kin::detail::ProcessEngine;
using kin::detail::TaskRef;
using kin::detail::TaskSlot;
using kin::detail::WorkerPool;

TaskSlot& slot_of(const TaskRef& task) { return static_cast<kin::detail::PoolTask&>(*task).slot(); }

kin::detail::PoolSettings one_worker() {
  kin::detail::PoolSettings settings;
  settings.workers = 1;
  return settings;
}

}  // namespace

TEST_SUITE("pool shortage") {
  TEST_CASE("a pool that had no memory for its tasks has lost none") {
    if (!ScarceMemory::is_possible) {
      std::puts(ScarceMemory::is_impossible);
      return;
    }
    const Frame frame;
    const auto engine = ProcessEngine::start(one_worker());
    WorkerPool pool(*engine, one_worker());
    const auto hold = [&] { return pool.hold(nullptr, {}, {}, {}, typeid(void)); };
    int failures = 0;
    for (bool has_failed = true; has_failed;) {
      const ScarceMemory scarce(failures);
      try {
        static_cast<void>(hold());
      } catch (const std::bad_alloc&) {
        CHECK(pool.state().block_count == 0);
      }
      has_failed = ScarceMemory::has_failed();
      if (has_failed) ++failures;
    }
    CHECK(failures == 2);
    CHECK(pool.state().block_count == 1);
    std::vector<TaskRef> all;
    std::set<TaskSlot*> slots;
    for (std::size_t i = 0; i <= kin::detail::PoolState::first_block; ++i) {
      slots.insert(&slot_of(all.emplace_back(hold())));
    }
    CHECK(slots.size() == all.size());
    CHECK(pool.state().block_count == 2);
    all.clear();
    pool.end();
    engine->end();
  }

  TEST_CASE("a pool of threads that has no memory for a task forgets it and goes on") {
    if (!ScarceMemory::is_possible) {
      std::puts(ScarceMemory::is_impossible);
      return;
    }
    const Frame frame;
    int failures = 0;
    for (bool has_failed = true; has_failed;) {
      kin::ThreadPool pool(1);
      CHECK(pool.apply(::abs, -1) == 1);
      {
        const ScarceMemory scarce(failures);
        try {
          static_cast<void>(pool.apply_async(::abs, -2));
        } catch (const std::bad_alloc&) {
          ++failures;
        }
        has_failed = ScarceMemory::has_failed();
      }
      const kin::Future<int> next = pool.apply_async(::abs, -3);
      REQUIRE(next.wait_for(patience));
      CHECK(next.get() == 3);
      pool.close();
      REQUIRE(pool.join_for(patience));
    }
    CHECK(failures >= 2);  // the task, and Asio's token
  }

  TEST_CASE("what a pool of threads is terminated with needs no memory") {
    if (!ScarceMemory::is_possible) {
      std::puts(ScarceMemory::is_impossible);
      return;
    }
    const Frame frame;
    std::atomic<bool> may_end = false;
    kin::ThreadPool pool(1);
    const kin::Future<int> running = pool.apply_async([&] { return may_end.wait(false), 1; });
    REQUIRE(eventually([&] { return running.running(); }));
    std::vector<kin::Future<int>> pending;
    for (int i = 0; i < 200; ++i) pending.push_back(pool.apply_async(::abs, -i));
    {
      const ScarceMemory scarce(0);
      pool.terminate();
      CHECK_FALSE(ScarceMemory::has_failed());
    }
    for (const auto& one : pending) CHECK(one.cancelled());
    may_end = true;
    may_end.notify_all();
    CHECK(running.get() == 1);
    pool.join();
  }
}
