// SPDX-License-Identifier: BSL-1.0
//
// Initializers of workers and of managers, against CPython's TestInitializers.
//
// Fails when:
//   work() does not call the initializer: test_pool_initializer
//   live() calls it twice: test_manager_initializer

#include "trial.hpp"

#include <set>

#include <unistd.h>

using namespace trial;

TEST_SUITE("initializers") {
  // What can't be called is an error of the compiler's.
  TEST_CASE_FIXTURE(Trial, "test_manager_initializer") {
    const kin::Queue<pid_t> runs;
    std::vector<int> captured{1, 2, 3};
    static std::vector<int> initial;
    const kin::Manager manager({.initializer = [runs, captured] {
      initial = captured;
      runs.put(::getpid());
    }});
    const auto object = manager.make<int>(5);
    CHECK(object.apply([](int& /*five*/) { return initial; }) == captured);
    CHECK(initial.empty());
    CHECK(runs.try_get() == manager.process().pid());
    CHECK_FALSE(runs.try_get());
  }

  // A callable that can't be called is an error of the compiler's.
  TEST_CASE_FIXTURE(Trial, "test_pool_initializer") {
    const kin::Queue<pid_t> runs;
    // Nothing that a task could be: fork carries it.
    std::vector<int> captured{1, 2, 3};
    static std::vector<int> initial;
    kin::Pool pool({.processes = 3, .initializer = [runs, captured] {
                      initial = captured;
                      runs.put(::getpid());
                    }});
    CHECK(pool.apply([] { return initial; }) == captured);
    CHECK(initial.empty());
    CHECK(eventually([&] { return runs.size() == 3; }));
    // The next in a dead worker's place runs it again.
    CHECK_THROWS_AS(static_cast<void>(pool.apply([]() -> int { std::_Exit(3); })), kin::WorkerDied);
    CHECK(eventually([&] { return runs.size() == 4; }));
    for (int i = 0; i < 10; ++i) CHECK(pool.apply([] { return initial.size(); }) == 3);
    pool.close();
    CHECK(pool.join_for(patience));
    std::set<pid_t> workers;
    while (const auto pid = runs.try_get()) workers.insert(*pid);
    CHECK(workers.size() == 4);
  }

  TEST_CASE_FIXTURE(Trial, "test_thread_pool_initializer") {
    const kin::Queue<int> runs;
    kin::ThreadPool pool({.threads = 3, .initializer = [runs] { runs.put(1); }});
    for (int i = 0; i < 20; ++i) CHECK(pool.apply([i] { return i; }) == i);
    CHECK(runs.size() >= 1);
    CHECK(runs.size() <= 3);
  }
}
