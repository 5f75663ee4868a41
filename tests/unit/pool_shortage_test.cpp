// SPDX-License-Identifier: BSL-1.0
//
// Pools where something can't be had: memory for a task, or a process for a worker.
//
// Fails when:
//   add_block() publishes its slots before it has memory for their tasks: a pool that had no memory …
//   ThreadCrew::queue() posts without the lock, or keeps the task when that throws: a pool of threads …
//   cancel_pending() copies the list: what a pool of threads is terminated with …
//   kill_the_cancelled() leaves out seats without a worker: a task that was to run again …
//   Worker::run() goes on with whatever its seat names: a worker that is too late …

#include "frame.hpp"
#include "nursery/worker.hpp"
#include "one_worker.hpp"
#include "pool/pool_task.hpp"
#include "pool/worker_pool.hpp"
#include "scarce_memory.hpp"

#include "support/shared_page.hpp"

#include <kin/error.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <set>
#include <string>
#include <typeinfo>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace unit;
using kin::detail::PoolMemory;
using kin::detail::ProcessEngine;
using kin::detail::TaskRef;
using kin::detail::TaskSlot;
using kin::detail::TaskState;
using kin::detail::TaskWord;
using kin::detail::WorkerPool;

int wait_for_signal(int value) {
  ::sleep(600);
  return value;
}

TaskSlot& slot_of(const TaskRef& task) { return static_cast<kin::detail::PoolTask&>(*task).slot(); }

// How often the task below was run.
std::atomic<int>& runs() {
  static const crash::SharedPage<std::atomic<int>> page;
  return *page;
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

  TEST_CASE("a task that was to run again is cancelled though there is no worker to be had") {
    const Frame frame;
    kin::Pool pool(2);
    const int nursery = pool.apply([] { return static_cast<int>(::getppid()); });
    const kin::Future<int> future = pool.apply_async({.retries = 3}, wait_for_signal, 1);
    REQUIRE(eventually([&] { return future.running(); }));
    const pid_t worker = pool.worker_pids()[slot_of(future.task_ref()).now().seat()];
    // No descriptors but those that it has, and polls.
    rlimit before{};
    REQUIRE(::prlimit(nursery, RLIMIT_NOFILE, nullptr, &before) == 0);
    const rlimit few{.rlim_cur = 3, .rlim_max = before.rlim_max};
    REQUIRE(::prlimit(nursery, RLIMIT_NOFILE, &few, nullptr) == 0);
    ::kill(worker, SIGKILL);
    REQUIRE(eventually([&] { return pool.worker_pids().size() == 1; }));
    CHECK(future.running());
    CHECK(future.cancel({.kill = true}));
    CHECK(future.wait_for(patience));
    CHECK(future.cancelled());
    REQUIRE(::prlimit(nursery, RLIMIT_NOFILE, &before, nullptr) == 0);
    CHECK(eventually([&] { return pool.worker_pids().size() == 2; }));
    CHECK(pool.apply(::abs, -1) == 1);
  }

  TEST_CASE("a worker that is too late to run its task again waits for its end") {
    const Frame frame;
    runs() = 0;
    PoolMemory memory(1);
    kin::detail::Seat& seat = memory.state().seats()[0];
    TaskSlot& task = kin::detail::add_slots(memory.state())[0];
    task.code = [](kin::detail::TaskContext& /*context*/) { ++runs(); };
    task.generation = 1;
    task.word = TaskWord(1, TaskState::killing).at(0).bits();
    seat.current = &task;
    seat.current_generation = 1;
    seat.resumes = 1;
    Relative worker([&] {
      kin::detail::WorkerSettings settings;
      kin::detail::work(memory, 0, settings, [] {});
      return "returned";
    });
    REQUIRE(eventually([&] { return seat.resumes == 0; }));
    REQUIRE(worker.falls_asleep());
    CHECK(runs() == 0);
    CHECK(task.now().state() == TaskState::killing);
    worker.end();
  }
}
