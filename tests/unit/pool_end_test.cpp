// SPDX-License-Identifier: BSL-1.0
//
// How pools end, by request and with their nursery, and what becomes of what they had.
//
// Fails when:
//   end_orphans() only waits: a worker that has become another program … (in 90 s)
//   join_nursery() reads the phase once: who waits for a pool's end …
//   queue() takes the task back whatever its word says: a task that ends …
//   is_needed() asks for tasks only, when the pool is closing: what is accepted … (in 10 s)
//   bury_tasks() ends all that is queued: what is accepted …

#include "channel/writer.hpp"
#include "frame.hpp"
#include "memory/heap.hpp"
#include "one_worker.hpp"
#include "pool/pool_task.hpp"
#include "pool/worker_pool.hpp"

#include "support/again.hpp"
#include "support/sanitizer.hpp"

#include <kin/pool.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>
#include <vector>

#include <unistd.h>

TEST_SUITE("pool end") {
  using namespace unit;
  using kin::detail::TaskState;

  int wait_for_signal(int value) {
    ::sleep(600);
    return value;
  }

  kin::detail::TaskSlot& slot_of(const kin::Future<int>& future) {
    return static_cast<kin::detail::PoolTask&>(*future.task_ref()).slot();
  }

  TEST_CASE("what runs when a pool is terminated is cancelled") {
    const Frame frame;
    kin::Pool pool(1);
    const kin::Future<int> running = pool.apply_async(wait_for_signal, 1);
    const kin::Future<int> pending = pool.apply_async(wait_for_signal, 2);
    const kin::Future<int> again = pool.apply_async({.retries = 3}, wait_for_signal, 3);
    REQUIRE(eventually([&] { return running.running(); }));
    pool.terminate();
    CHECK_THROWS_AS(static_cast<void>(running.get()), kin::CancelledError);
    CHECK_THROWS_AS(static_cast<void>(pending.get()), kin::CancelledError);
    CHECK_THROWS_AS(static_cast<void>(again.get()), kin::CancelledError);
    pool.join();
  }

  TEST_CASE("futures that are dropped do not keep a pool that has ended") {
    const Frame frame;
    static_cast<void>(kin::Pool(1).apply(::abs, 1));
    const auto before = kin::detail::Heap::statistics();
    {
      kin::Pool pool(1);
      const kin::Future<int> running = pool.apply_async(wait_for_signal, 1);
      REQUIRE(eventually([&] { return running.running(); }));
      static_cast<void>(pool.apply_async(wait_for_signal, 2));
      static_cast<void>(pool.apply_async({.callback = [](int) {}}, wait_for_signal, 3));
    }
    const auto after = kin::detail::Heap::statistics();
    CHECK(after.cells == before.cells);
    CHECK(after.chunks <= before.chunks);
  }

  TEST_CASE("a notice that nobody came to send is sent when the nursery is dead") {
    const Frame frame;
    kin::Pool pool(1);
    const int nursery = pool.apply([] { return static_cast<int>(::getppid()); });
    std::atomic<int> called = 0;
    const kin::Future<int> future =
        pool.apply_async({.callback = [&](int) { ++called; }}, wait_for_signal, 1);
    REQUIRE(eventually([&] { return future.running(); }));
    // As if its worker had been killed behind the end of the task.
    kin::detail::TaskSlot& slot = slot_of(future);
    slot.result_length = sizeof(int);
    slot.word = slot.now().with(TaskState::finished).bits();
    CHECK_FALSE(future.wait_for(10ms));
    ::kill(nursery, SIGKILL);
    CHECK(future.wait_for(patience));
    CHECK(called == 1);
  }

  TEST_CASE(
      "who dies behind the end of its task has its callback called, who lives calls it itself") {
    const Frame frame;
    kin::Pool pool(2);
    struct One {
      std::atomic<int> called = 0;
      kin::Future<int> future;
      pid_t worker = 0;
    };
    One lives;
    One dies;
    for (One* one : {&lives, &dies}) {
      one->future =
          pool.apply_async({.callback = [one](int) { ++one->called; }}, wait_for_signal, 1);
      REQUIRE(eventually([&] { return one->future.running(); }));
      // As if it had come to the end of the task, and not to its notice.
      kin::detail::TaskSlot& slot = slot_of(one->future);
      one->worker = pool.worker_pids()[slot.now().seat()];
      slot.result_length = sizeof(int);
      slot.word = slot.now().with(TaskState::finished).bits();
    }
    ::kill(dies.worker, SIGKILL);
    CHECK(eventually([&] { return dies.called == 1; }));
    CHECK(dies.future.wait_for(patience));
    CHECK(lives.called == 0);
    ::kill(lives.worker, SIGKILL);
    CHECK(eventually([&] { return lives.called == 1; }));
    CHECK(dies.called == 1);
  }

  TEST_CASE("callbacks are called when the nursery is killed, though nobody waits") {
    const Frame frame;
    kin::Pool pool(1);
    const int nursery = pool.apply([] { return static_cast<int>(::getppid()); });
    std::atomic<int> failed = 0;
    const kin::Future<int> future = pool.apply_async(
        {.error_callback = [&](const std::exception&) { ++failed; }}, wait_for_signal, 1);
    REQUIRE(eventually([&] { return future.running(); }));
    ::kill(nursery, SIGKILL);
    CHECK(eventually([&] { return failed == 1; }));
  }

  TEST_CASE("a callback that waits does not keep the others from being called") {
    const Frame frame;
    kin::Pool pool(1);
    const int nursery = pool.apply([] { return static_cast<int>(::getppid()); });
    const kin::Future<int> last = pool.apply_async(wait_for_signal, 1);
    std::atomic<int> called = 0;
    const auto wait_for_last = [&](const std::exception&) {
      CHECK_THROWS_AS(static_cast<void>(last.get()), kin::BrokenPool);
      ++called;
    };
    std::vector<kin::Future<int>> all;
    for (int i = 0; i < 10; ++i) {
      all.push_back(pool.apply_async({.error_callback = wait_for_last}, wait_for_signal, i));
    }
    all[0].cancel();
    pool.close();
    ::kill(nursery, SIGKILL);
    CHECK(eventually([&] { return called == 10; }));
  }

  // What a pool and a future of it say in a child that was forked meanwhile.
  template <typename Call>
  bool is_refused(Call call) {
    try {
      call();
      return false;
    } catch (const std::logic_error& error) {
      return std::string(error.what()).find("belongs to the process that made it") !=
             std::string::npos;
    }
  }

  TEST_CASE("a child is refused all that a pool and its futures could tell") {
    const Frame frame;
    kin::Pool pool({.processes = 1, .name = "ours"});
    const kin::Future<int> over = pool.apply_async(::abs, -1);
    const kin::Future<std::vector<int>> map = pool.map_async(::abs, std::vector<int>{-1, 2});
    const kin::Future<int> failed = pool.apply_async(
        [](int value) -> int { throw std::out_of_range(std::to_string(value)); }, 1);
    const kin::Future<int> pending = pool.apply_async(wait_for_signal, 1);
    CHECK(over.get() == 1);
    CHECK(map.get() == std::vector<int>{1, 2});
    CHECK_THROWS_AS(static_cast<void>(failed.get()), std::out_of_range);
    CHECK(answer_of([&] {
            std::string accepted;
            const auto expect_refusal = [&](const char* what, auto call) {
              if (!is_refused(call)) accepted += std::string(what) + " ";
            };
            expect_refusal("pids", [&] { static_cast<void>(pool.worker_pids()); });
            expect_refusal("statistics", [&] { static_cast<void>(pool.statistics()); });
            expect_refusal("get", [&] { static_cast<void>(over.get()); });
            expect_refusal("try_get", [&] { static_cast<void>(over.try_get()); });
            expect_refusal("ready", [&] { static_cast<void>(over.ready()); });
            expect_refusal("exception", [&] { static_cast<void>(over.exception()); });
            expect_refusal("callback", [&] { over.add_done_callback([](const auto&) {}); });
            expect_refusal("map", [&] { static_cast<void>(map.get()); });
            expect_refusal("failed", [&] { static_cast<void>(failed.get()); });
            expect_refusal("pending", [&] { static_cast<void>(pending.try_get()); });
            expect_refusal("cancel", [&] { pending.cancel(); });
            return "accepted: " + accepted;
          }) == "accepted: ");
    CHECK(over.get() == 1);
  }

  TEST_CASE("a child has what a thread's call returned before the fork, and waits for no other") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    const Frame frame;
    std::atomic<bool> may_end = false;
    kin::ThreadPool pool(1);
    const kin::Future<int> over = pool.apply_async(::abs, -1);
    CHECK(over.get() == 1);
    const kin::Future<int> running = pool.apply_async([&] { return may_end.wait(false), 2; });
    REQUIRE(eventually([&] { return running.running(); }));
    CHECK(answer_of([&] {
            if (over.get() != 1) return "has not what was there";
            try {
              static_cast<void>(running.get());
            } catch (const std::logic_error&) {
              return "refused";
            }
            return "waited";
          }) == "refused");
    may_end = true;
    may_end.notify_all();
    CHECK(running.get() == 2);
  }

  TEST_CASE("a pool is none of the active children") {
    const Frame frame;
    const kin::Pool pool(2);
    CHECK(kin::active_children().empty());
  }

  // What the kernel says of a process or a thread: "(name) state …".
  std::string stat_of(const std::string& process) {
    std::string text;
    std::ifstream file("/proc/" + process + "/stat");
    std::getline(file, text);
    return text.substr(std::min(text.find('('), text.size()));
  }
  bool sleeps(pid_t thread) {
    return stat_of("self/task/" + std::to_string(thread)).find(") S ") != std::string::npos;
  }

  TEST_CASE("a worker that has become another program ends with its pool's nursery") {
    const Frame frame;
    kin::Pool pool(1);
    const int nursery = pool.apply([] { return static_cast<int>(::getppid()); });
    const auto began = std::chrono::steady_clock::now();
    const kin::Future<int> future =
        pool.apply_async([] { return ::execl("/bin/sleep", "sleep", "90", nullptr); });
    const std::string worker = std::to_string(pool.worker_pids()[0]);
    // Behind the end of exec(), which closes its life-line.
    REQUIRE(eventually([&] { return stat_of(worker).starts_with("(sleep) S "); }));
    ::kill(nursery, SIGKILL);
    CHECK(future.wait_for(patience));
    CHECK_THROWS_AS(static_cast<void>(future.get()), kin::BrokenPool);
    // Not since that program had ended.
    CHECK(std::chrono::steady_clock::now() - began < 90s);
  }

  TEST_CASE(
      "who waits for a pool's end does not wait for its stopped nursery once it is terminated") {
    const Frame frame;
    kin::Pool pool(1);
    const int nursery = pool.apply([] { return static_cast<int>(::getppid()); });
    ::kill(nursery, SIGSTOP);
    pool.close();
    std::atomic<pid_t> joins = 0;
    std::atomic<bool> joined = false;
    std::thread thread([&] {
      joins = ::gettid();
      pool.join();
      joined = true;
    });
    CHECK(eventually([&] { return joins != 0 && sleeps(joins); }));
    pool.terminate();
    CHECK(eventually([&] { return joined.load(); }));
    if (!joined) ::kill(nursery, SIGKILL);
    thread.join();
  }

  TEST_CASE("a task that ends while it is queued in vain stays as it ended") {
    const Frame frame;
    const auto engine = kin::detail::ProcessEngine::start(one_worker());
    kin::detail::WorkerPool pool(*engine, one_worker());
    const kin::detail::TaskRef task = pool.hold(nullptr, {}, {}, {}, typeid(void));
    auto& queued = static_cast<kin::detail::PoolTask&>(*task);
    kin::detail::ByteChannel& hints = pool.memory().tasks();
    std::atomic<bool> has_thrown = false;
    std::thread thread;
    {
      const kin::detail::RobustGuard guard(hints.tail_lock, [] {});
      thread = std::thread([&] {
        try {
          pool.queue(queued);
        } catch (const kin::QueueShutDown&) {
          has_thrown = true;
        }
      });
      CHECK(eventually([&] { return queued.slot().now().state() == TaskState::queued; }));
      // As whoever terminates the pool, and the nursery, do.
      kin::detail::commit_tail(hints, kin::detail::own_tail(hints).shut());
      kin::detail::end_tasks_if(
          pool.memory(), TaskState::cancelled,
          [](kin::detail::TaskWord word) { return word.state() == TaskState::queued; });
    }
    thread.join();
    CHECK_FALSE(has_thrown);
    CHECK(queued.slot().now().state() == TaskState::cancelled);
    CHECK_THROWS_AS(std::rethrow_exception(task->failure()), kin::CancelledError);
    // One that nobody has ended is held again.
    const kin::detail::TaskRef other = pool.hold(nullptr, {}, {}, {}, typeid(void));
    CHECK_THROWS_AS(pool.queue(static_cast<kin::detail::PoolTask&>(*other)), kin::QueueShutDown);
    CHECK(static_cast<kin::detail::PoolTask&>(*other).slot().now().state() == TaskState::held);
    pool.end();
    engine->end();
  }

  TEST_CASE("what is accepted while a pool is being closed is done, what is not is left alone") {
    const Frame frame;
    const auto engine = kin::detail::ProcessEngine::start(one_worker());
    kin::detail::PoolSettings settings = one_worker();
    settings.max_tasks = 1;
    kin::detail::WorkerPool pool(*engine, std::move(settings));
    const auto slot_of = [](const kin::detail::TaskRef& task) -> kin::detail::TaskSlot& {
      return static_cast<kin::detail::PoolTask&>(*task).slot();
    };
    // As a thread does that has found the pool open.
    const auto accept = [&](const kin::detail::TaskRef& task) {
      kin::detail::TaskSlot& slot = slot_of(task);
      slot.word = slot.now().with(TaskState::queued).bits();
      kin::detail::put_hint(pool.memory().tasks(),
                            kin::detail::TaskHint::to(slot, slot.generation));
      return eventually([&] { return slot.now().state() == TaskState::finished; });
    };
    const kin::detail::TaskCode nothing = [](kin::detail::TaskContext& /*context*/) {};
    const kin::detail::TaskRef first = pool.hold(nothing, {}, {}, {}, typeid(void));
    const kin::detail::TaskRef second = pool.hold(nothing, {}, {}, {}, typeid(void));
    const kin::detail::TaskRef in_vain = pool.hold(nothing, {}, {}, {}, typeid(void));
    // As close() does first.
    pool.state().phase = kin::detail::PoolState::closing;
    CHECK(accept(first));
    // Its worker leaves, as it was to do no more than one.
    CHECK(eventually([&] { return pool.state().seats()[0].restarts > 0; }));
    CHECK(accept(second));
    pool.close();
    // Another thread comes too late with it, and has not been told yet.
    const kin::detail::TaskWord held = slot_of(in_vain).now();
    slot_of(in_vain).word = held.with(TaskState::queued).bits();
    CHECK(pool.join(kin::detail::Deadline::after(patience)));
    CHECK(slot_of(in_vain).now().state() == TaskState::queued);
    slot_of(in_vain).word = held.bits();
    engine->end();
  }

  TEST_CASE("a pool of threads goes on when the first thing is shared") {
    if (!support::is_again()) {
      CHECK(support::again("a pool of threads goes on when the first thing is shared",
                           "67108864") == "");
      return;
    }
    kin::ThreadPool pool(1);
    const Frame frame;  // makes the arena
    CHECK(pool.apply(::abs, -1) == 1);
  }
}
