// SPDX-License-Identifier: BSL-1.0
//
// What only the executor of processes has, against CPython's ProcessPoolExecutorTest: whose exceptions
// they are, which workers there are, how they are replaced, and how they are ended by force.
//
// Fails when:
//   has_done_enough() does not count: test_max_tasks_per_child
//   fill_seats() breaks the pool though a worker is left: "a worker that can't be replaced at once"
//   await_notice() names the task before there is a thread: test_python_finalization_error
//   kill() forgets has_no_patience: test_terminate_workers

#include "support/no_more_threads.hpp"
#include "support/shared_page.hpp"
#include "workers.hpp"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

using namespace trial;

namespace {

int exit_at_once(int code) { std::_Exit(code); }
int wait_and_exit(const Gate& gate, int code) {
  gate.pass();
  std::_Exit(code);
}
int number_of(const Counted& counted) { return counted.call(); }
int living(std::size_t number) { return Counted::living(number); }

// How the worker of a task died.
kin::WorkerDied death_of(const kin::Future<int>& future) {
  try {
    std::rethrow_exception(why_it_failed(future));
  } catch (const kin::WorkerDied& death) {
    return death;
  }
}

std::string text_of_break(const kin::Future<int>& future) {
  try {
    std::rethrow_exception(why_it_failed(future));
  } catch (const kin::BrokenPool& broken) {
    return broken.what();
  }
}

std::vector<pid_t> children_of(pid_t pid) {
  const std::string id = std::to_string(pid);
  std::ifstream file("/proc/" + id + "/task/" + id + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  std::ranges::sort(children);
  return children;
}

std::vector<pid_t> sorted(std::vector<pid_t> pids) {
  std::ranges::sort(pids);
  return pids;
}

// How many descriptors another process may have; returns how many that were.
rlim_t allow_descriptors(pid_t pid, rlim_t count) {
  rlimit limit{};
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) == 0);
  const rlim_t before = std::exchange(limit.rlim_cur, count);
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, &limit, nullptr) == 0);
  return before;
}

// terminate_workers() or kill_workers().
enum class Force { terminate, kill };

// Runs the rest of the case twice.
Force each_force() {
  Force force{};
  SUBCASE("terminate_workers") { force = Force::terminate; }
  SUBCASE("kill_workers") { force = Force::kill; }
  return force;
}

void shut_down(kin::ProcessPoolExecutor& executor, Force force) {
  if (force == Force::terminate) {
    executor.terminate_workers();
  } else {
    executor.kill_workers();
  }
}

}  // namespace

TEST_SUITE("process_pool_executor") {
  // There one death fails all futures, and at first with one exception. Here each that is concerned has
  // one of its own: of its own worker, or of the nursery.
  TEST_CASE_FIXTURE(Trial, "test_broken_process_pool_traceback") {
    kin::ProcessPoolExecutor executor(1);
    const pid_t nursery = executor.submit(parent_pid).get();
    const auto first = executor.submit(exit_at_once, 1);
    const auto second = executor.submit(exit_at_once, 2);
    CHECK(executor.submit(square, 3).get_for(patience) == 9);
    CHECK(death_of(first).exit_code() == 1);
    CHECK(death_of(second).exit_code() == 2);
    CHECK(death_of(first).pid() != death_of(second).pid());

    const Gate gate;
    const auto running = executor.submit(pass, gate, 1);
    const auto pending = executor.submit(pass, gate, 2);
    static_cast<void>(gate.await_one());
    REQUIRE(::kill(nursery, SIGKILL) == 0);
    CHECK(text_of_break(running).find(std::to_string(nursery)) != std::string::npos);
    CHECK(text_of_break(pending).find(std::to_string(nursery)) != std::string::npos);
    CHECK(running.exception() != pending.exception());
  }

  TEST_CASE_FIXTURE(Trial, "test_map_chunksize") {
    kin::ProcessPoolExecutor executor(2);
    const auto items = std::views::iota(0, 40);
    std::vector<int> expected;
    for (const int item : items) expected.push_back(item * item);
    for (const std::ptrdiff_t chunk_size : {6, 40, 50}) {
      CAPTURE(chunk_size);
      std::vector<int> results;
      for (const int one : executor.map({.chunk_size = chunk_size}, square, items)) {
        results.push_back(one);
      }
      CHECK(results == expected);
    }
    CHECK_THROWS_AS(static_cast<void>(executor.map({.chunk_size = -1}, square, items)),
                    std::invalid_argument);
  }

  // The text of the traceback is a RemoteError here, which tells the type, the text and the process.
  TEST_CASE_FIXTURE(Trial, "test_traceback") {
    kin::ProcessPoolExecutor executor(1);
    const auto future = executor.submit(fail_with, "some text");
    bool is_nested = false;
    try {
      static_cast<void>(future.result());
    } catch (const std::domain_error& error) {
      CHECK(std::string(error.what()) == "some text");
      try {
        std::rethrow_if_nested(error);
      } catch (const kin::RemoteError& remote) {
        is_nested = true;
        CHECK(remote.type_name() == "std::domain_error");
        CHECK(remote.message() == "some text");
        CHECK(remote.pid() == executor.worker_pids().front());
      }
    }
    CHECK(is_nested);
  }

  TEST_CASE_FIXTURE(Trial, "test_traceback_when_child_process_terminates_abruptly") {
    kin::ProcessPoolExecutor executor({.max_workers = 1, .name = "the pool"});
    const pid_t worker = executor.worker_pids().front();
    const kin::WorkerDied death = death_of(executor.submit(exit_at_once, 99));
    CHECK(death.pid() == worker);
    CHECK(death.exit_code() == 99);
    const std::string text = death.what();
    CHECK(text.find("worker process " + std::to_string(worker) + " of the pool") !=
          std::string::npos);
    CHECK(text.find("ended with exit code 99") != std::string::npos);
  }

  TEST_CASE_FIXTURE(Trial, "test_ressources_gced_in_workers") {
    kin::ProcessPoolExecutor executor(1);
    CHECK(executor.submit([](const Counted& one) { return living(one.number()); }, Counted(1))
              .get() == 1);
    CHECK(executor.submit(living, std::size_t{1}).get() == 0);
    CHECK(executor.submit(number_of, Counted(2)).get() == 2);
    CHECK(executor.submit(living, std::size_t{2}).get() == 0);
    // One that the worker sends back.
    CHECK(executor.submit([](const Counted& one) { return one; }, Counted(3)).get().number() == 3);
    CHECK(executor.submit(living, std::size_t{3}).get() == 0);
    CHECK(Counted::living(3) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_saturation") {
    constexpr int workers = 3;
    kin::ProcessPoolExecutor executor(workers);
    const pid_t nursery = executor.submit(parent_pid).get();
    const Gate gate;
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 15 * workers; ++i) futures.push_back(executor.submit(pass, gate, i));
    std::vector<pid_t> at_work;
    for (int i = 0; i < workers; ++i) at_work.push_back(gate.await_one());
    CHECK(sorted(at_work) == sorted(executor.worker_pids()));
    CHECK(children_of(nursery) == sorted(at_work));
    gate.open(15 * workers);
    for (int i = 0; i < 15 * workers; ++i) {
      CHECK(futures[static_cast<std::size_t>(i)].get_for(patience) == i);
    }
    CHECK(children_of(nursery) == sorted(at_work));
  }

  // All workers are there from the beginning, as there with fork.
  TEST_CASE_FIXTURE(Trial, "test_idle_process_reuse_one") {
    kin::ProcessPoolExecutor executor(1);
    const auto workers = executor.worker_pids();
    REQUIRE(workers.size() == 1);
    for (int i = 0; i < 3; ++i) CHECK(executor.submit(own_pid).get() == workers.front());
    CHECK(executor.worker_pids() == workers);
  }

  TEST_CASE_FIXTURE(Trial, "test_idle_process_reuse_multiple") {
    kin::ProcessPoolExecutor executor(2);
    const auto workers = executor.worker_pids();
    REQUIRE(workers.size() == 2);
    for (int i = 0; i < 100; ++i) {
      CHECK(std::ranges::count(workers, executor.submit(own_pid).get()) == 1);
    }
    CHECK(executor.worker_pids() == workers);
  }

  // There it is refused with fork.
  TEST_CASE_FIXTURE(Trial, "test_max_tasks_per_child") {
    kin::ProcessPoolExecutor executor({.max_workers = 1, .max_tasks_per_child = 3});
    const pid_t nursery = executor.submit(parent_pid).get();
    const pid_t first = executor.submit(own_pid).get();
    CHECK(executor.submit(own_pid).get() == first);
    const Gate gate;
    const auto fourth = executor.submit(pass, gate, 4);
    const pid_t second = gate.await_one();
    CHECK(second != first);
    CHECK(is_gone(first));
    CHECK(children_of(nursery) == std::vector{second});
    gate.open();
    CHECK(fourth.get_for(patience) == 4);
  }

  TEST_CASE_FIXTURE(Trial, "test_shutdown_no_wait_max_tasks_gh119592") {
    const Gate gate;
    std::vector<kin::Future<int>> futures;
    {
      kin::ProcessPoolExecutor executor({.max_workers = 2, .max_tasks_per_child = 1});
      for (int i = 0; i < 6; ++i) futures.push_back(executor.submit(pass, gate, i));
      executor.shutdown({.wait = false});
    }
    gate.open(6);
    for (int i = 0; i < 6; ++i) {
      CHECK(futures[static_cast<std::size_t>(i)].get_for(patience) == i);
    }
  }

  // There the rest fails; here it is done, whether the executor waits or not.
  TEST_CASE_FIXTURE(Trial, "test_gc_during_max_tasks_worker_exit_gh152967") {
    for (int round = 0; round < 20; ++round) {
      std::vector<kin::Future<int>> futures;
      {
        kin::ProcessPoolExecutor executor({.max_workers = 1, .max_tasks_per_child = 1});
        for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(square, i));
        REQUIRE(ends(futures[0]));  // and so does its worker, now
        if (round % 2 == 0) executor.shutdown({.wait = false});
      }
      for (int i = 0; i < 3; ++i) {
        CHECK(futures[static_cast<std::size_t>(i)].get_for(patience) == i * i);
      }
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_failed_worker_replacement_breaks_pool") {
    kin::ProcessPoolExecutor executor(1);
    const pid_t nursery = executor.submit(parent_pid).get();
    const Gate gate;
    const auto last = executor.submit(wait_and_exit, gate, 7);
    const auto pending = executor.submit(square, 2);
    static_cast<void>(gate.await_one());
    allow_descriptors(nursery, 3);
    gate.open();
    CHECK(death_of(last).exit_code() == 7);
    CHECK(text_of_break(pending).find("no worker could be started") != std::string::npos);
    CHECK_THROWS_AS(static_cast<void>(executor.submit(square, 2)), kin::BrokenPool);
  }

  // Not of theirs: who is left does the work, and the other is replaced as soon as that can be.
  TEST_CASE_FIXTURE(Trial, "a worker that can't be replaced at once") {
    kin::ProcessPoolExecutor executor(2);
    const pid_t nursery = executor.submit(parent_pid).get();
    const Gate gate;
    const auto other = executor.submit(pass, gate, 1);
    const pid_t left = gate.await_one();
    const rlim_t usual = allow_descriptors(nursery, 3);
    CHECK(death_of(executor.submit(exit_at_once, 7)).exit_code() == 7);
    CHECK(eventually([&] { return executor.worker_pids() == std::vector{left}; }));
    gate.open();
    CHECK(other.get_for(patience) == 1);
    for (int i = 0; i < 10; ++i) CHECK(executor.submit(own_pid).get() == left);
    allow_descriptors(nursery, usual);
    CHECK(eventually([&] { return executor.worker_pids().size() == 2; }));
  }

  TEST_CASE_FIXTURE(Trial, "test_max_tasks_early_shutdown") {
    kin::ProcessPoolExecutor executor({.max_workers = 3, .max_tasks_per_child = 1});
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 6; ++i) futures.push_back(executor.submit(square, i));
    executor.shutdown();
    for (int i = 0; i < 6; ++i) CHECK(futures[static_cast<std::size_t>(i)].try_get() == i * i);
  }

  // The one thread that there may be is for callbacks. Who asks for one is told, and nothing else fails.
  TEST_CASE_FIXTURE(Trial, "test_python_finalization_error") {
    std::atomic<int> calls = 0;
    const auto count = [&](const auto& /*result*/) { ++calls; };
    {
      kin::ProcessPoolExecutor executor(1);
      kin::Pool pool(1);
      const Gate gate;
      const auto first = executor.submit(pass, gate, 1);
      const auto second = executor.submit(pass, gate, 2);
      {
        const support::NoMoreThreads none;
        for (int i = 0; i < 3; ++i) {
          CHECK_THROWS_AS(first.add_done_callback(count), kin::SystemError);
          CHECK_THROWS_AS(static_cast<void>(pool.apply_async({.callback = count}, square, 3)),
                          kin::SystemError);
          CHECK_THROWS_AS(
              static_cast<void>(pool.map_async({.callback = count}, square, std::vector{1, 2, 3})),
              kin::SystemError);
        }
        CHECK_THROWS_AS(static_cast<void>(kin::wait(std::vector{first, second}, patience)),
                        kin::SystemError);
        CHECK(executor.submit(square, 2).cancel());
        gate.open(2);
        CHECK(first.get_for(patience) == 1);
        CHECK(second.get_for(patience) == 2);
        CHECK(pool.apply(square, 4) == 16);
      }
      CHECK(calls == 0);
      executor.submit(square, 5).add_done_callback(count);
      CHECK(pool.apply_async({.callback = count}, square, 6).get_for(patience) == 36);
      CHECK(eventually([&] { return calls == 2; }));
    }
    CHECK(calls == 2);
  }

  // There a mock: that both end all workers by force, each with a signal of its own.
  TEST_CASE_FIXTURE(Trial, "test_terminate_workers") {
    const Force force = each_force();
    static const crash::SharedPage<std::atomic<int>> terminated;
    *terminated = 0;
    kin::ProcessPoolExecutor executor({.max_workers = 2, .initializer = [] {
                                         std::signal(SIGTERM, [](int) {
                                           ++*terminated;
                                           ::_exit(0);
                                         });
                                       }});
    const Gate gate;
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 2; ++i) futures.push_back(executor.submit(pass, gate, i));
    std::vector<pid_t> workers;
    for (int i = 0; i < 2; ++i) workers.push_back(gate.await_one());
    shut_down(executor, force);
    CHECK(*terminated == (force == Force::terminate ? 2 : 0));
    CHECK(std::ranges::all_of(workers, is_gone));
  }

  TEST_CASE_FIXTURE(Trial, "test_force_shutdown_workers") {
    const Force force = each_force();
    kin::ProcessPoolExecutor executor(1);
    const Gate gate;
    const kin::Queue<int> done;
    const auto future = executor.submit(
        [](const Gate& at, const kin::Queue<int>& told) {
          at.pass();
          told.put(1);
          return 1;
        },
        gate, done);
    const auto pending = executor.submit(square, 2);
    const pid_t worker = gate.await_one();
    shut_down(executor, force);
    CHECK(is_gone(worker));
    gate.open();
    CHECK(done.empty());
    CHECK(future.cancelled());
    CHECK(pending.cancelled());
    CHECK_THROWS_AS(static_cast<void>(future.result()), kin::CancelledError);
  }

  // Broken here: its nursery is dead.
  TEST_CASE_FIXTURE(Trial, "test_force_shutdown_workers_dead_workers") {
    const Force force = each_force();
    kin::ProcessPoolExecutor executor(1);
    const pid_t nursery = executor.submit(parent_pid).get();
    CHECK(death_of(executor.submit(exit_at_once, 1)).exit_code() == 1);
    const Gate gate;
    const auto future = executor.submit(pass, gate, 1);
    static_cast<void>(gate.await_one());
    REQUIRE(::kill(nursery, SIGKILL) == 0);
    CHECK_FALSE(text_of_break(future).empty());
    shut_down(executor, force);
    CHECK(executor.worker_pids().empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_force_shutdown_workers_not_started_yet") {
    const Force force = each_force();
    kin::ProcessPoolExecutor executor(2);
    shut_down(executor, force);
    CHECK(executor.worker_pids().empty());
    shut_down(executor, force);
    executor.shutdown();
  }

  TEST_CASE_FIXTURE(Trial, "test_force_shutdown_workers_stops_pool") {
    const Force force = each_force();
    kin::ProcessPoolExecutor executor(1);
    const pid_t worker = executor.submit(own_pid).get();
    shut_down(executor, force);
    CHECK(is_gone(worker));
    CHECK_THROWS_AS(static_cast<void>(executor.submit(square, 2)), std::logic_error);
  }
}
