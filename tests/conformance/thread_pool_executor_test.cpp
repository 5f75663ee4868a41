// SPDX-License-Identifier: BSL-1.0
//
// Threads behind the interface, against CPython's ThreadPoolExecutorTest.
//
// Fails when:
//   map() does not prefetch(): test_map_submits_without_iteration

#include "workers.hpp"

using namespace trial;

TEST_SUITE("thread_pool_executor") {
  TEST_CASE_FIXTURE(Trial, "test_map_submits_without_iteration") {
    std::atomic<int> calls{0};
    kin::ThreadPoolExecutor executor(2);
    const auto results = executor.map([&](int) { return ++calls; }, std::views::iota(0, 10));
    CHECK(eventually([&] { return calls == 10; }));
  }

  TEST_CASE_FIXTURE(Trial, "test_process_fork_from_a_threadpool") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    const auto fork_and_square = [](int x) {
      kin::ProcessPoolExecutor processes(2);
      return processes.submit(square, x).get_for(patience).value_or(-1);
    };
    kin::set_log_level(kin::LogLevel::error);  // that there are threads
    {
      kin::ThreadPoolExecutor threads(2);
      CHECK(threads.submit(square, 2).get_for(patience) == 4);
      CHECK(threads.submit(fork_and_square, 3).get_for(patience) == 9);
      const auto first = threads.submit(fork_and_square, 4);
      const auto second = threads.submit(fork_and_square, 5);
      CHECK(first.get_for(patience) == 16);
      CHECK(second.get_for(patience) == 25);
    }
    kin::set_log_level(kin::LogLevel::warning);
  }
}
