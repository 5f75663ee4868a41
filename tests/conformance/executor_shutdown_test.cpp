// SPDX-License-Identifier: BSL-1.0
//
// How executors are shut down, and how programs end that have some, against CPython's
// ExecutorShutdownTest and ProcessPoolShutdownTest. The programs are children that end by std::exit.
//
// Fails when:
//   shutdown() does not look at cancel_futures: test_cancel_futures

#include "workers.hpp"

#include "support/sanitizer.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <unistd.h>

using namespace trial;

namespace {

// How a program ended, and what it had written to stderr.
struct Ending {
  std::optional<int> code;
  std::string complaints;  // none where threads are counted wrong
};

Ending run_program(const std::function<void()>& program) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> errors(std::tmpfile(), std::fclose);
  REQUIRE(errors);
  Ending ending;
  ending.code = outcome([&] {
    expect(::dup2(::fileno(errors.get()), STDERR_FILENO) != -1);
    program();
    std::exit(0);
  });
  std::rewind(errors.get());
  for (int c = 0; (c = std::fgetc(errors.get())) != EOF;) {
    ending.complaints += static_cast<char>(c);
  }
  if (!support::counts_threads_right) ending.complaints.clear();
  return ending;
}

int give_apple(const Gate& gate, const kin::Queue<std::string>& fruit) {
  gate.pass();
  fruit.put("apple");
  return 1;
}

template <typename T>
bool all_gone(const T& pids) {
  return std::ranges::all_of(pids, is_gone);
}

}  // namespace

TEST_SUITE("executor_shutdown") {
  TEST_CASE_TEMPLATE("test_run_after_shutdown", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    executor.shutdown();
    CHECK_THROWS_AS(static_cast<void>(executor.submit(square, 2)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(executor.map(square, std::vector{1, 2})), std::logic_error);
    executor.shutdown();
  }

  TEST_CASE_TEMPLATE("test_interpreter_shutdown", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const kin::Queue<std::string> fruit;
    const Gate gate;
    const Ending ending = run_program([&] {
      static std::optional<Executor> executor;
      executor.emplace(1);
      static_cast<void>(executor->submit(give_apple, gate, fruit));
      gate.open();
    });
    CHECK(ending.code == 0);
    CHECK(ending.complaints == "");
    CHECK(fruit.try_get() == "apple");
  }

  // A handler that was registered before the executor was made runs when it takes no more.
  TEST_CASE_TEMPLATE("test_submit_after_interpreter_shutdown", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const kin::Queue<std::string> refusals;
    const Ending ending = run_program([&] {
      static Executor* executor = nullptr;
      static kin::Queue<std::string> told;
      told = refusals;
      expect(std::atexit([] {
               try {
                 static_cast<void>(executor->submit(square, 2));
               } catch (const std::logic_error& error) {
                 told.put(error.what());
               }
             }) == 0);
      executor = new Executor(1);  // never destroyed
      expect(executor->submit(square, 3).get() == 9);
    });
    CHECK(ending.code == 0);
    CHECK(ending.complaints == "");
    const auto refusal = refusals.try_get();
    REQUIRE(refusal);
    CHECK(refusal->find("no more tasks") != std::string::npos);
  }

  TEST_CASE_TEMPLATE("test_hang_issue12364", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 50; ++i) futures.push_back(executor.submit(square, i));
    executor.shutdown();
    for (int i = 0; i < 50; ++i) CHECK(futures[static_cast<std::size_t>(i)].try_get() == i * i);
  }

  TEST_CASE_TEMPLATE("test_cancel_futures", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const Gate gate;
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 50; ++i) futures.push_back(executor.submit(pass, gate, i));
    static_cast<void>(gate.await_one());
    executor.shutdown({.wait = false, .cancel_futures = true});
    gate.open(50);
    executor.shutdown();
    std::size_t cancelled = 0;
    std::size_t finished = 0;
    for (const auto& future : futures) {
      REQUIRE(future.done());
      if (future.cancelled()) {
        ++cancelled;
      } else {
        CHECK(future.exception() == nullptr);
        ++finished;
      }
    }
    CHECK(cancelled > 20);
    CHECK(finished >= 1);
  }

  // Better than CPython, where it hangs with processes.
  TEST_CASE_TEMPLATE("test_hang_gh83386", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const kin::Queue<std::string> fruit;
    const Gate gate;
    const Ending ending = run_program([&] {
      Executor executor(2);
      static_cast<void>(executor.submit(give_apple, gate, fruit));
      static_cast<void>(gate.await_one());
      executor.shutdown({.wait = false});
      gate.open();
      std::exit(0);  // the executor is still there
    });
    CHECK(ending.code == 0);
    CHECK(ending.complaints == "");
    CHECK(fruit.try_get() == "apple");
  }

  TEST_CASE_TEMPLATE("test_hang_gh94440", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    for (int round = 0; round < 20; ++round) {
      Executor executor(1);
      CHECK(executor.submit(square, 2).get() == 4);
      const auto future = executor.submit(square, 3);
      static_cast<void>(future.cancel());
      executor.shutdown();
      CHECK(future.done());
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_processes_terminate") {
    kin::ProcessPoolExecutor executor(3);
    const Gate gate;
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(pass, gate, i));
    std::vector<pid_t> workers;
    for (int i = 0; i < 3; ++i) workers.push_back(gate.await_one());
    CHECK(executor.worker_pids().size() == 3);
    gate.open(3);
    executor.shutdown();
    CHECK(all_gone(workers));
    CHECK(executor.worker_pids().empty());
    for (const auto& future : futures) CHECK(future.successful());
  }

  TEST_CASE_FIXTURE(Trial, "test_context_manager_shutdown") {
    std::vector<pid_t> workers;
    std::vector<kin::Future<int>> futures;
    {
      kin::ProcessPoolExecutor executor(3);
      workers = executor.worker_pids();
      for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(square, i));
    }
    CHECK(workers.size() == 3);
    CHECK(all_gone(workers));
    for (int i = 0; i < 10; ++i) CHECK(futures[static_cast<std::size_t>(i)].try_get() == i * i);
  }

  TEST_CASE_FIXTURE(Trial, "test_shutdown_no_wait") {
    std::vector<pid_t> workers;
    std::vector<kin::Future<int>> futures;
    const Gate gate;
    {
      kin::ProcessPoolExecutor executor(3);
      workers = executor.worker_pids();
      for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(pass, gate, i));
      executor.shutdown({.wait = false});
    }
    gate.open(10);
    for (int i = 0; i < 10; ++i) CHECK(futures[static_cast<std::size_t>(i)].get_for(patience) == i);
    futures.clear();
    CHECK(eventually([&] { return all_gone(workers); }));
  }

  TEST_CASE_FIXTURE(Trial, "test_shutdown_gh_132969_case_1") {
    kin::ProcessPoolExecutor executor({.max_workers = 2, .max_tasks_per_child = 1});
    const auto failing = executor.submit(fail_with, "no");
    CHECK_THROWS_AS(std::rethrow_exception(why_it_failed(failing)), std::domain_error);
    const auto future = executor.submit(square, 1);
    executor.shutdown({.wait = false});
    CHECK(future.get_for(patience) == 1);
  }
}
