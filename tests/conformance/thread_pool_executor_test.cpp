// SPDX-License-Identifier: BSL-1.0
//
// Threads behind the interface, against CPython's ThreadPoolExecutorTest.
//
// Fails when:
//   map() does not prefetch(): test_map_submits_without_iteration
//   Threads does not stop() those that it has: "only some of the threads can be had"

#include "workers.hpp"

#include <fstream>

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

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

  // There threads are started one by one, as they are needed.
  TEST_CASE("only some of the threads can be had") {
    if (support::is_sanitized) {
      std::puts("skipped: a sanitizer has more addresses than can be limited");
      return;
    }
    const Trial trial;
    CHECK(outcome([] {
            constexpr rlim_t stack = rlim_t{1} << 32;
            pthread_attr_t attributes{};
            expect(::pthread_getattr_default_np(&attributes) == 0);
            expect(::pthread_attr_setstacksize(&attributes, stack) == 0);
            expect(::pthread_setattr_default_np(&attributes) == 0);
            rlim_t pages = 0;
            expect(static_cast<bool>(std::ifstream("/proc/self/statm") >> pages));
            const rlim_t used = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
            const rlimit room_for_three{used + 3 * stack + stack / 2, RLIM_INFINITY};
            expect(::setrlimit(RLIMIT_AS, &room_for_three) == 0);
            for (int i = 0; i < 2; ++i) {
              int error = 0;
              try {
                kin::ThreadPoolExecutor executor(8);
              } catch (const kin::SystemError& failure) {
                error = failure.code().value();
              }
              expect(error == EAGAIN);
            }
            kin::ThreadPoolExecutor executor(1);
            expect(executor.submit(square, 3).get_for(patience) == 9);
          }) == 0);
  }
}
