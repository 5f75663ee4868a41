// SPDX-License-Identifier: BSL-1.0
//
// Pools where something can't be had: memory for a task, or a process for a worker.
//
// Fails when:
//   add_block() publishes its slots before it has memory for their tasks: a pool that had no memory …

#include "frame.hpp"
#include "pool/pool_task.hpp"
#include "pool/worker_pool.hpp"
#include "scarce_memory.hpp"

#include <kin/error.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <cstdio>
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
}
