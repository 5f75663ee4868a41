// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/manager.hpp>
#include <kin/queue.hpp>
#include <kin/serialize.hpp>
#include <kin/unique_fd.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

int square(int number) { return number * number; }

bool waits(const kin::Manager& manager, std::size_t parked = 1) {
  return unit::eventually([&] { return manager.statistics().parked == parked; });
}

// Whether a process that is no child of this one has ended.
class Life {
 public:
  explicit Life(pid_t pid) : pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
    REQUIRE(pidfd_.get() >= 0);
  }
  bool ends() {
    pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const auto limit = std::chrono::milliseconds(unit::patience).count();
    return ::poll(&ended, 1, static_cast<int>(limit)) == 1;
  }

 private:
  kin::UniqueFd pidfd_;
};

int refuse(int number) { throw std::out_of_range("not " + std::to_string(number)); }

}  // namespace

TEST_SUITE("managed pool") {
  using namespace unit;

  TEST_CASE("tasks run in workers of the server's") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(2);
    CHECK(pool.apply(square, 7) == 49);
    CHECK(pool.apply([](const std::string& text) { return text + "!"; }, "go") == "go!");
    const std::vector<pid_t> pids = pool.worker_pids();
    REQUIRE(pids.size() == 2);
    const pid_t worker = pool.apply([] { return ::getpid(); });
    CHECK((worker == pids[0] || worker == pids[1]));
    CHECK(pool.map(square, std::views::iota(0, 100))[99] == 9801);
    CHECK(pool.map(square, {1, 2, 3}) == std::vector{1, 4, 9});
    const std::vector<std::tuple<int, int>> pairs = {{1, 2}, {3, 4}};
    CHECK(pool.starmap([](int left, int right) { return left * right; }, pairs) ==
          std::vector{2, 12});
    std::vector<int> all;
    for (const int one : pool.imap(square, std::views::iota(0, 20))) all.push_back(one);
    CHECK(all.size() == 20);
    CHECK(all[19] == 361);
    CHECK(std::ranges::is_sorted(all));
    std::set<int> any;
    for (const int one : pool.imap_unordered(square, std::views::iota(0, 20))) any.insert(one);
    CHECK(any == std::set<int>(all.begin(), all.end()));
    const auto done = manager.value<int>(0);
    pool.apply([](const kin::managed::Value<int>& it) { it.fetch_add(1); }, done);
    CHECK(done.load() == 1);
    pool.map([](int) {}, std::vector{1, 2});
    CHECK(pool.map(square, std::vector<int>()).empty());
  }

  TEST_CASE("a result is there for whoever asks, as often as it is asked for") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const kin::Queue<int> gate;
    const auto result = pool.apply_async([](const kin::Queue<int>& it) { return it.get(); }, gate);
    CHECK_FALSE(result.ready());
    CHECK_FALSE(result.try_get());
    CHECK_FALSE(result.get_for(1ms));
    CHECK_FALSE(result.wait_for(1ms));
    CHECK_THROWS_AS(static_cast<void>(result.successful()), kin::InvalidStateError);
    Relative other([result] { return std::to_string(result.get()); });
    CHECK(waits(manager));
    // Nobody is held up.
    CHECK(manager.value<int>(3).load() == 3);
    gate.put(5);
    CHECK(result.get() == 5);
    CHECK(other.answer() == "5");
    CHECK(result.get_for(patience) == 5);
    CHECK(result.ready());
    CHECK(result.successful());
    const auto nothing = pool.apply_async([] {});
    nothing.wait();
    nothing.get();
    CHECK(nothing.try_get());
  }

  TEST_CASE("a pool can be used from a child") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(2);
    CHECK(answer_of([pool] {
            const std::vector<int> all = pool.map(square, std::views::iota(0, 10));
            return std::to_string(std::accumulate(all.begin(), all.end(), 0));
          }) == "285");
    CHECK(pool.apply(square, 3) == 9);
  }

  TEST_CASE("what a task throws arrives, and what kills its worker is told") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    CHECK_THROWS_WITH_AS(pool.apply(refuse, 7), "not 7", std::out_of_range);
    const auto failed = pool.apply_async(refuse, 1);
    failed.wait();
    CHECK_FALSE(failed.successful());
    CHECK_THROWS_AS(pool.map(refuse, {1, 2}), std::out_of_range);
    CHECK_THROWS_AS(pool.apply([] { std::raise(SIGKILL); }), kin::WorkerDied);
    CHECK(pool.apply(square, 2) == 4);
    const auto one_fails = pool.imap(
        [](int number) {
          if (number == 1) throw std::domain_error("one");
          return number;
        },
        std::views::iota(0, 3));
    CHECK(one_fails.next() == 0);
    CHECK_THROWS_AS(one_fails.next(), std::domain_error);
    CHECK(one_fails.next() == 2);
    CHECK(one_fails.next() == std::nullopt);
    CHECK(one_fails.next() == std::nullopt);
    CHECK_THROWS_AS(static_cast<void>(manager.pool(0)), std::invalid_argument);
  }

  TEST_CASE("the items of a chunk go to one worker, each with a result of its own") {
    const Frame frame;
    const kin::Manager manager;
    // Each task has a worker to itself.
    const auto pool = manager.pool({.processes = 2, .max_tasks_per_child = 1});
    const auto who = [](int number) {
      if (number == 4) throw std::domain_error("four");
      return ::getpid();
    };
    const auto results = pool.imap({.chunk_size = 3}, who, std::views::iota(0, 7));
    std::vector<pid_t> pids;
    for (int i = 0; i < 4; ++i) pids.push_back(results.next().value());
    CHECK_THROWS_AS(results.next(), std::domain_error);
    for (int i = 0; i < 2; ++i) pids.push_back(results.next().value());
    CHECK_FALSE(results.next());
    CHECK(std::set<pid_t>(pids.begin(), pids.begin() + 3).size() == 1);
    CHECK(std::set<pid_t>(pids.begin() + 3, pids.begin() + 5).size() == 1);
    CHECK(std::set<pid_t>(pids.begin(), pids.end()).size() == 3);

    std::multiset<int> any;
    for (const int one : pool.imap_unordered({.chunk_size = 3}, square, std::views::iota(0, 7))) {
      any.insert(one);
    }
    CHECK(any == std::multiset<int>{0, 1, 4, 9, 16, 25, 36});
    const auto die = [](int) -> int { return std::raise(SIGKILL); };
    const auto dead = pool.imap({.chunk_size = 3}, die, std::views::iota(0, 3));
    CHECK_THROWS_AS(dead.next(), kin::WorkerDied);  // the one outcome of the chunk
    CHECK_FALSE(dead.next());
    CHECK_THROWS_AS(pool.map({.chunk_size = 0}, square, std::vector{1}), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(pool.imap({.chunk_size = -1}, square, std::vector{1})),
                    std::invalid_argument);
  }

  TEST_CASE("a callback is called once, in the server, before anybody sees that the task is over") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(2);
    const auto seen = manager.list<int>();
    const auto wrong = manager.list<std::string>();
    const auto note = kin::partial(
        [](const kin::managed::List<int>& it, int result) { it.append(result); }, seen);
    const auto note_all = kin::partial(
        [](const kin::managed::List<int>& it, const std::vector<int>& all) { it.extend(all); },
        seen);
    const auto note_error =
        kin::partial([](const kin::managed::List<std::string>& it,
                        const std::exception& error) { it.append(error.what()); },
                     wrong);
    const auto note_pointer = kin::partial(
        [](const kin::managed::List<std::string>& it, const std::exception_ptr& error) {
          it.append(error ? "a pointer" : "none");
        },
        wrong);
    CHECK(pool.apply({.callback = note, .error_callback = note_error}, square, 3) == 9);
    CHECK(seen.copy() == std::vector{9});
    CHECK(pool.map({.callback = note_all}, square, std::vector{1, 2}) == std::vector{1, 4});
    CHECK(seen.copy() == std::vector{9, 1, 4});
    const std::vector<std::tuple<int, int>> pairs = {{1, 2}, {3, 4}};
    const auto multiply = [](int left, int right) { return left * right; };
    CHECK(pool.starmap({.chunk_size = 1, .callback = note_all}, multiply, pairs).size() == 2);
    CHECK(seen.copy() == std::vector{9, 1, 4, 2, 12});
    CHECK(wrong.empty());

    const auto failed =
        pool.apply_async({.callback = note, .error_callback = note_error}, refuse, 7);
    CHECK(eventually([&] { return failed.ready(); }));
    CHECK(wrong.copy() == std::vector<std::string>{"not 7"});
    CHECK_THROWS_AS(failed.get(), std::out_of_range);
    CHECK_THROWS_AS(pool.map({.error_callback = note_pointer}, refuse, std::vector{1}),
                    std::out_of_range);
    CHECK(wrong.copy() == std::vector<std::string>{"not 7", "a pointer"});
    CHECK(seen.size() == 5);
    // What a callback holds is let go of though the result is kept.
    std::optional<kin::managed::Value<int>> sum = manager.value<int>(0);
    const auto kept = pool.apply_async(
        {.callback =
             kin::partial([](const kin::managed::Value<int>& it, int n) { it.store(n); }, *sum)},
        square, 2);
    CHECK(kept.get() == 4);
    const std::size_t objects = manager.statistics().objects;
    sum.reset();
    CHECK(eventually([&] { return manager.statistics().objects == objects - 1; }));

    const auto server = manager.process().pid();
    const auto where = manager.value<pid_t>(0);
    pool.apply({.callback = kin::partial(
                    [](const kin::managed::Value<pid_t>& it) { it.store(::getpid()); }, where)},
               [] {});
    CHECK(where.load() == server);
  }

  TEST_CASE(
      "a callback is called where nobody asks for the result, and where the pool is dropped") {
    const Frame frame;
    const kin::Manager manager;
    const auto seen = manager.list<std::string>();
    const auto done = kin::partial([](const kin::managed::List<std::string>& it,
                                      int result) { it.append(std::to_string(result)); },
                                   seen);
    const auto failed = kin::partial(
        [](const kin::managed::List<std::string>& it, const std::exception_ptr& error) {
          try {
            std::rethrow_exception(error);
          } catch (const kin::CancelledError&) {
            it.append("cancelled");
          }
        },
        seen);
    {
      const auto pool = manager.pool(1);
      static_cast<void>(pool.apply_async({.callback = done}, square, 4));
      CHECK(eventually([&] { return seen.size() == 1; }));
      // Whoever asked is no more.
      Relative other([pool, done] {
        static_cast<void>(pool.apply_async({.callback = done}, square, 5));
        return "asked";
      });
      CHECK(other.answer() == "asked");
      CHECK(eventually([&] { return seen.size() == 2; }));
      const kin::Queue<int> gate;
      static_cast<void>(pool.apply_async(
          {.callback = done, .error_callback = failed},
          [](const kin::Queue<int>& it) { return it.get(); }, gate));
    }
    CHECK(eventually([&] { return seen.size() == 3; }));
    CHECK(seen.copy() == std::vector<std::string>{"16", "25", "cancelled"});
    CHECK(eventually([&] { return manager.statistics().objects == 1; }));
  }

  TEST_CASE("a callback that throws, waits or ends its pool is logged, and nobody is harmed") {
    const Frame frame;
    const kin::Queue<std::string> lines;
    const kin::Manager manager({.initializer = [lines] {
      kin::set_log_sink(
          [lines](kin::LogLevel, std::string_view line) { lines.put(std::string(line)); });
    }});
    const auto said = [&](const std::string& what) {
      while (const auto line = lines.get_for(patience)) {
        if (line->find(what) != std::string::npos) return true;
      }
      return false;
    };
    const auto pool = manager.pool(1);
    CHECK(pool.apply({.callback = [](int) { throw std::domain_error("not so"); }}, square, 2) == 4);
    CHECK(said("threw: not so"));
    using Q = kin::managed::Queue<int>;
    const Q empty = manager.queue<int>();
    const auto waits = kin::partial([](const Q& it, int) { static_cast<void>(it.get()); }, empty);
    CHECK(pool.apply({.callback = waits}, square, 3) == 9);
    CHECK(said("would have to wait"));
    const auto ends = kin::partial(
        [](const kin::managed::Pool& it, int) {
          it.terminate();
          it.join();
        },
        pool);
    CHECK(pool.apply({.callback = ends}, square, 4) == 16);
    CHECK(said("would have to wait"));
    pool.join();
    CHECK_THROWS_AS(pool.apply(square, 5), std::logic_error);
    CHECK(manager.value<int>(3).load() == 3);
  }

  TEST_CASE("limits and retries are a kin::Pool's; imap takes no callbacks") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const kin::Queue<int> gate;
    const auto wait = [](const kin::Queue<int>& it) { return it.get(); };
    CHECK_THROWS_AS(pool.apply({.timeout = 50ms}, wait, gate), kin::TimeoutError);
    CHECK_THROWS_AS(pool.apply({.soft_timeout = 50ms}, wait, gate), kin::TimeoutError);
    const auto tries = manager.value<int>(0);
    const auto die_once = [](const kin::managed::Value<int>& it) {
      if (it.fetch_add(1) == 0) std::raise(SIGKILL);
      return it.load();
    };
    CHECK_THROWS_AS(pool.apply(die_once, tries), kin::WorkerDied);
    tries.store(0);
    CHECK(pool.apply({.retries = 1}, die_once, tries) == 2);
    CHECK_THROWS_AS(pool.apply({.retries = -1}, square, 1), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(pool.imap({.callback = [](const std::vector<int>&) {}},
                                                square, std::vector{1})),
                    std::invalid_argument);
    const std::vector<kin::Queue<int>> gates{gate};
    const auto results = pool.imap(wait, gates);
    CHECK_THROWS_AS(results.next_for(1ms), kin::TimeoutError);
    gate.put(6);
    CHECK(results.next_for(patience) == 6);
    CHECK_FALSE(results.next_for(patience));
  }

  TEST_CASE("a pool that is closed does what it was given, and can be joined") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const kin::Queue<int> gate;
    CHECK_THROWS_AS(pool.join(), std::logic_error);
    const auto result = pool.apply_async([](const kin::Queue<int>& it) { return it.get(); }, gate);
    pool.close();
    CHECK_THROWS_AS(pool.apply(square, 1), std::logic_error);
    CHECK_FALSE(pool.join_for(1ms));
    Relative other([pool] {
      pool.join();
      return "joined";
    });
    CHECK(waits(manager));
    gate.put(1);
    pool.join();
    CHECK(pool.join_for(0s));
    CHECK(other.answer() == "joined");
    CHECK(result.get() == 1);
  }

  TEST_CASE("a pool that is terminated, or that nobody has any more, ends its tasks") {
    const Frame frame;
    const kin::Manager manager;
    const kin::Queue<int> gate;
    const auto wait = [](const kin::Queue<int>& it) { return it.get(); };
    {
      const auto pool = manager.pool(1);
      const auto result = pool.apply_async(wait, gate);
      Relative other([result] {
        try {
          return std::to_string(result.get());
        } catch (const kin::CancelledError&) {
          return std::string("cancelled");
        }
      });
      CHECK(waits(manager));
      pool.terminate();
      pool.join();
      CHECK(other.answer() == "cancelled");
      CHECK_THROWS_AS(result.get(), kin::CancelledError);
    }
    CHECK(eventually([&] { return manager.statistics().objects == 0; }));
    std::optional<Life> worker;
    {
      const auto pool = manager.pool(1);
      worker.emplace(pool.worker_pids().at(0));
      static_cast<void>(pool.apply_async(wait, gate));
    }
    CHECK(eventually([&] { return manager.statistics().objects == 0; }));
    CHECK(worker->ends());
  }

  TEST_CASE("a client that is killed while it waits for a result is no trouble") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const kin::Queue<int> gate;
    const auto result = pool.apply_async([](const kin::Queue<int>& it) { return it.get(); }, gate);
    {
      const Relative victim([result] { return std::to_string(result.get()); });
      CHECK(waits(manager));
    }
    CHECK(waits(manager, 0));
    gate.put(2);
    CHECK(result.get() == 2);
  }

  TEST_CASE("the workers die with the server") {
    const Frame frame;
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const kin::Queue<int> gate;
    const auto result = pool.apply_async([](const kin::Queue<int>& it) { return it.get(); }, gate);
    Life worker(pool.worker_pids().at(0));
    ::kill(manager.process().pid(), SIGKILL);
    CHECK_THROWS_AS(result.get(), kin::ManagerDied);
    CHECK(worker.ends());
  }

  TEST_CASE("a manager ends in bounded time, whatever its pools do") {
    const Frame frame;
    kin::Manager manager;
    const auto pool = manager.pool(2);
    const kin::Queue<int> gate;
    const auto result = pool.apply_async([](const kin::Queue<int>& it) { return it.get(); }, gate);
    Life worker(pool.worker_pids().at(0));
    manager.shutdown();
    CHECK(worker.ends());
    CHECK_THROWS_AS(result.get(), kin::ManagerDied);
  }

  TEST_CASE("each worker begins with the initializer") {
    const Frame frame;
    const kin::Manager manager;
    const auto begun = manager.set<int>();
    const auto pool = manager.pool(
        {.processes = 2, .max_tasks_per_child = 1, .name = "bakers"},
        kin::partial([](const kin::managed::Set<int>& it) { it.add(::getpid()); }, begun));
    for (int i = 0; i < 3; ++i) {
      const pid_t worker = pool.apply([] { return ::getpid(); });
      CHECK(begun.contains(worker));
    }
    CHECK(begun.size() >= 3);
  }
}
