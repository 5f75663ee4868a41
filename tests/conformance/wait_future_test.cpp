// SPDX-License-Identifier: BSL-1.0
//
// Futures among the things that wait_any() waits for; Python's connection.wait() takes none.
//
// Fails when:
//   Waitable does not ask whether the future names a call: "a future that names no call"
//   Wait::look_around() does nothing: "a nursery that is killed while a callback waits"
//   ThreadTask::want_notice() does not check the process: "a future in a forked child"
//   call_observers() does not wait for the first: "not before its callback was called"
//   Arrivals::next() does not look between slices: "a wait in a callback"
//   Wait gives poll() an entry for each future: "more of them than there may be descriptors"
//   ~FutureBell() does not unobserve: "a call that is waited for again and again"

#include "workers.hpp"

#include "support/bystander.hpp"

#include <atomic>
#include <csignal>
#include <future>
#include <latch>
#include <ranges>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace trial;

namespace {

using Indices = std::vector<std::size_t>;

// When the process that waits has fallen asleep, or its time is up.
int square_when_asleep(pid_t waiter, int x) {
  expect(eventually([waiter] { return crash::process_state(waiter) == 'S'; }));
  return x * x;
}
int fail_when_asleep(pid_t waiter) {
  expect(eventually([waiter] { return crash::process_state(waiter) == 'S'; }));
  throw std::domain_error("no");
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
  return count;
}

/// While it lives this process may have so many descriptors.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t most) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit less{.rlim_cur = most, .rlim_max = before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &less) == 0);
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { CHECK(::setrlimit(RLIMIT_NOFILE, &before_) == 0); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_SUITE("wait_future") {
  TEST_CASE_TEMPLATE("among other things", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const kin::Queue<int> queue;
    const auto [reader, writer] = kin::SimplexPipe<int>();
    const Gate gate;
    Executor executor(1);
    const kin::Future<int> future = executor.submit(pass, gate, 3);
    CHECK(gate.await_one() != 0);
    CHECK(kin::wait_any({queue, future, reader}, 0s).empty());
    CHECK(kin::wait_any({queue, future, reader}, 20ms).empty());
    queue.put(1);
    CHECK(kin::wait_any({queue, future, reader}) == Indices{0});
    gate.open();
    CHECK(kin::wait_any({future, reader}, patience) == Indices{0});
    writer.send(2);
    CHECK(kin::wait_any({queue, future, reader}, 0s) == Indices{0, 1, 2});
    CHECK(future.get() == 3);
    CHECK(kin::wait_any({reader, future}, -1s) == Indices{0, 1});
  }

  TEST_CASE_FIXTURE(Trial, "that end while one sleeps") {
    kin::Pool pool(1);
    const kin::Queue<int> queue;
    const auto squared = pool.apply_async(square_when_asleep, ::getpid(), 4);
    CHECK(kin::wait_any({queue, squared}, patience) == Indices{1});
    const auto failed = pool.apply_async(fail_when_asleep, ::getpid());
    CHECK(kin::wait_any({queue, failed}, patience) == Indices{1});
    CHECK_THROWS_AS(static_cast<void>(failed.get()), std::domain_error);
    const auto map = pool.map_async({.chunk_size = 1}, square, std::vector{1, 2, 3});
    CHECK(kin::wait_any({queue, map}, patience) == Indices{1});
    CHECK(map.get() == std::vector{1, 4, 9});
    const kin::Future<void> nothing = pool.apply_async([] {});
    CHECK(kin::wait_any({queue, nothing}, patience) == Indices{1});
  }

  TEST_CASE_FIXTURE(Trial, "of several pools, and of none") {
    kin::Pool processes(1);
    kin::ThreadPool threads(1);
    const kin::Promise<int> promise;
    const Gate gate;
    const std::vector pending{processes.apply_async(pass, gate, 0), threads.apply_async(square, 1),
                              promise.get_future()};
    const std::vector<kin::Waitable> things(pending.begin(), pending.end());
    CHECK(kin::wait_any(things, patience) == Indices{1});
    std::thread other([&] { promise.set_result(2); });
    CHECK(kin::wait_any({pending[0], pending[2]}, patience) == Indices{1});
    other.join();
    gate.open();
    CHECK(kin::wait_any({pending[0]}, patience) == Indices{0});
    CHECK(kin::wait_any(things, 0s) == Indices{0, 1, 2});
  }

  TEST_CASE_FIXTURE(Trial, "each as it ends, of many") {
    kin::Pool pool(2);
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 300; ++i) futures.push_back(pool.apply_async(square, i));
    std::vector<int> results;
    while (!futures.empty()) {
      const std::vector<kin::Waitable> things(futures.begin(), futures.end());
      const Indices ready = kin::wait_any(things, patience);
      REQUIRE_FALSE(ready.empty());
      for (const std::size_t index : std::views::reverse(ready)) {
        results.push_back(futures[index].get());
        futures.erase(futures.begin() + static_cast<std::ptrdiff_t>(index));
      }
    }
    std::ranges::sort(results);
    std::vector<int> expected;
    for (int i = 0; i < 300; ++i) expected.push_back(i * i);
    CHECK(results == expected);
  }

  TEST_CASE_FIXTURE(Trial, "more of them than there may be descriptors") {
    const DescriptorLimit limit(256);
    std::vector<kin::Promise<int>> promises(400);
    std::vector<kin::Waitable> things;
    for (auto& promise : promises) things.emplace_back(promise.get_future());
    const kin::Queue<int> queue;
    things.emplace_back(queue);
    CHECK(kin::wait_any(things, 0s).empty());

    const pid_t waiter = ::gettid();
    const auto falls_asleep = [waiter] {
      return eventually([waiter] { return crash::process_state(waiter) == 'S'; });
    };
    std::thread other([&] {
      if (falls_asleep()) promises[399].set_result(1);
    });
    CHECK(kin::wait_any(things, patience) == Indices{399});
    other.join();
    queue.put(1);
    CHECK(kin::wait_any(things, patience) == Indices{399, 400});
    things.pop_back();  // nothing but futures
    CHECK(kin::wait_any(things, patience) == Indices{399});
    CHECK(kin::wait_any(std::span(things).first(399), 0s).empty());
  }

  TEST_CASE_FIXTURE(Trial, "a future that is cancelled, or whose worker dies") {
    kin::Pool pool(1);
    const Gate gate;
    const kin::Queue<int> queue;
    const auto first = pool.apply_async(pass, gate, 1);
    const pid_t worker = gate.await_one();
    const auto second = pool.apply_async(square, 2);
    auto canceller = std::async(std::launch::async, [&] { return second.cancel(); });
    CHECK(kin::wait_any({queue, first, second}, patience) == Indices{2});
    CHECK(canceller.get());
    CHECK(::kill(worker, SIGKILL) == 0);
    CHECK(kin::wait_any({queue, first}, patience) == Indices{1});
    CHECK_THROWS_AS(static_cast<void>(first.get()), kin::WorkerDied);
  }

  TEST_CASE_FIXTURE(Trial, "a nursery that was killed") {
    kin::Pool pool(1);
    const pid_t nursery = pool.apply(parent_pid);
    const Gate gate;
    const kin::Queue<int> queue;
    const auto future = pool.apply_async(pass, gate, 1);
    CHECK(gate.await_one() != 0);
    CHECK(::kill(nursery, SIGKILL) == 0);
    CHECK(kin::wait_any({queue, future}, patience) == Indices{1});
    CHECK_THROWS_AS(static_cast<void>(future.get()), kin::BrokenPool);
  }

  TEST_CASE_FIXTURE(Trial, "two threads that wait for the same") {
    kin::Pool pool(1);
    const Gate gate;
    const auto future = pool.apply_async(pass, gate, 1);
    const auto wait = [&] { return kin::wait_any({future, future}, patience); };
    auto one = std::async(std::launch::async, wait);
    auto other = std::async(std::launch::async, wait);
    gate.open();
    CHECK(one.get() == Indices{0, 1});
    CHECK(other.get() == Indices{0, 1});
  }

  TEST_CASE_FIXTURE(Trial, "a future that names no call") {
    kin::ThreadPool threads(1);
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({kin::Future<int>()}, 0s)), std::logic_error);
    auto future = threads.apply_async(square, 2);
    const auto moved = std::move(future);
    // NOLINTNEXTLINE(bugprone-use-after-move)
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({moved, future}, 0s)), std::logic_error);
    CHECK(kin::wait_any({moved}, patience) == Indices{0});
  }

  TEST_CASE_FIXTURE(Trial, "a descriptor that is not open beside it") {
    kin::Pool pool(1);
    const Gate gate;
    const auto future = pool.apply_async(pass, gate, 1);
    const int before = open_descriptors();
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_AS(static_cast<void>(kin::wait_any({future, 1000}, patience)), kin::SystemError);
      CHECK(kin::wait_any({future}, 1ms).empty());
    }
    CHECK(open_descriptors() == before);
    gate.open();
    CHECK(future.get() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "a call that is waited for again and again") {
    int before = 0;
    const kin::Promise<int> promise;
    for (int i = 0; i < 20; ++i) {
      CHECK(kin::wait_any({promise.get_future()}, 1ms).empty());
      if (i == 0) before = open_descriptors();
    }
    // What still observed would keep its descriptor.
    CHECK(open_descriptors() == before);
    promise.set_result(1);
    CHECK(promise.get_future().get() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "not before its callback was called") {
    kin::Pool pool(1);
    std::latch is_called(1);
    std::latch may_return(1);
    const auto future = pool.apply_async({.callback =
                                              [&](const int&) {
                                                is_called.count_down();
                                                may_return.wait();
                                              }},
                                         square, 3);
    is_called.wait();
    const auto begin = std::chrono::steady_clock::now();
    CHECK(kin::wait_any({future}, 50ms).empty());
    CHECK(kin::wait(std::vector{future}, 50ms).done.empty());
    CHECK(std::chrono::steady_clock::now() - begin >= 100ms);
    may_return.count_down();
    CHECK(kin::wait_any({future}, patience) == Indices{0});
    CHECK(kin::wait(std::vector{future}, patience).done.size() == 1);
  }

  // There is no other thread that would tell.
  TEST_CASE_FIXTURE(Trial, "a wait in a callback") {
    kin::Pool pool(1);
    const Gate gate;
    std::atomic<pid_t> waiter = 0;
    Indices ready;
    std::size_t done = 0;
    std::promise<void> has_waited;
    const auto wait_twice = [&](const int&) {
      waiter = ::gettid();
      const auto one = pool.apply_async(pass, gate, 5);
      ready = kin::wait_any({one}, 2 * patience);
      const auto other = pool.apply_async(pass, gate, 6);
      done = kin::wait(std::vector{other}, 2 * patience).done.size();
      has_waited.set_value();
    };
    const auto first = pool.apply_async({.callback = wait_twice}, square, 2);
    for (int i = 0; i < 2; ++i) {
      CHECK(gate.await_one() != 0);
      CHECK(eventually([&] { return crash::process_state(waiter) == 'S'; }));
      gate.open();
    }
    REQUIRE(has_waited.get_future().wait_for(patience) == std::future_status::ready);
    CHECK(ready == Indices{0});
    CHECK(done == 1);
    CHECK(first.get() == 4);
  }

  TEST_CASE_FIXTURE(Trial, "a nursery that is killed while a callback waits") {
    kin::Pool pool(1);
    const pid_t nursery = pool.apply(parent_pid);
    const Gate gate;
    Indices ready;
    std::promise<void> has_waited;
    const auto wait = [&](const int&) {
      ready = kin::wait_any({pool.apply_async(pass, gate, 5)}, 2 * patience);
      has_waited.set_value();
    };
    const auto first = pool.apply_async({.callback = wait}, square, 2);
    CHECK(gate.await_one() != 0);
    CHECK(::kill(nursery, SIGKILL) == 0);
    REQUIRE(has_waited.get_future().wait_for(patience) == std::future_status::ready);
    CHECK(ready == Indices{0});
    CHECK(first.get() == 4);
  }

  TEST_CASE_TEMPLATE("a future in a forked child", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    const auto future = executor.submit(pass, gate, 1);
    CHECK(gate.await_one() != 0);
    CHECK(outcome([&] {
            const kin::Queue<int> queue;
            try {
              static_cast<void>(kin::wait_any({queue, future}, patience));
              expect(false);
            } catch (const std::logic_error&) {
              queue.put(1);
            }
            try {
              static_cast<void>(kin::wait(std::vector{future}, patience));
              expect(false);
            } catch (const std::logic_error&) {
              expect(queue.try_get() == 1);
            }
          }) == 0);
    gate.open();
    CHECK(kin::wait_any({future}, patience) == Indices{0});
  }
}
