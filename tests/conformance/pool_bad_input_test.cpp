// SPDX-License-Identifier: BSL-1.0
//
// Tasks that misbehave and pools that are misused: each has the documented outcome, costs nobody else
// anything, and the pool goes on. One promise, so one file, however long.
//
// Fails when:
//   ThreadCrew::initialize() catches std::exception only: "an initializer that throws in a thread"
//   leave_if_copy() does nothing: "a task that returns twice …"
//   settle() does not ask for the phase: "what is pending is cancelled …"
//   ThreadEngine::end() does not ask whose process it is: "a pool in a forked child"
//   join() does not look for is_here(): "a callback that uses its pool"
//   warn_of_threads() is not called: "a pool made among threads"
//   limit_from() refuses nothing: "options that make no sense"
//   has_done_enough() does not look at the memory: "a worker with too much memory"
//   live() does not explain_break(): "an initializer that throws"
//   keeps_progress() is has_limits(): "retries"
//   call_observers() catches std::exception only: "a callback that throws"

#include "trial.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trial;

namespace {

using Gate = kin::Queue<int>;

int square(int x) { return x * x; }
int fail(const char* text) { throw std::runtime_error(text); }
int own_pid() { return ::getpid(); }
int wait_at(const Gate& gate) { return gate.get_for(patience).value_or(-1); }
int sleep_for_ever() {
  while (true) ::pause();
}

// Still whole, with as many workers as it was made with.
bool goes_on(kin::Pool& pool, std::size_t workers) {
  return pool.apply(square, 12) == 144 &&
         eventually([&] { return pool.worker_pids().size() == workers; });
}

// How the task ended; none if it did not.
template <typename T>
std::optional<kin::WorkerDied> death_of(const kin::Future<T>& future) {
  REQUIRE(future.wait_for(patience));
  try {
    static_cast<void>(future.get());
  } catch (const kin::WorkerDied& death) {
    return death;
  }
  return std::nullopt;
}

template <typename T>
std::string failure_of(const kin::Future<T>& future) {
  REQUIRE(future.wait_for(patience));
  try {
    static_cast<void>(future.get());
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

// A pool may break before it is given a task, or behind it.
template <typename Pool>
std::string why_broken(Pool& pool) {
  try {
    const auto future = pool.apply_async(square, 3);
    expect(future.wait_for(patience));
    static_cast<void>(future.get());
  } catch (const kin::BrokenPool& broken) {
    return broken.what();
  }
  return "";
}

// Of a type that nobody registered.
struct OfTheTask : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return "why"; }
};

// Can't be read by who gets it.
struct Unreadable {
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    int value = 1;
    archive& value;
    if constexpr (Archive::is_loading::value) throw std::runtime_error("can't be read");
  }
};

// What is logged meanwhile.
class Logged {
 public:
  Logged() {
    kin::set_log_sink(
        [lines = lines_](kin::LogLevel, std::string_view line) { lines.put(std::string(line)); });
  }
  Logged(const Logged&) = delete;
  Logged& operator=(const Logged&) = delete;
  ~Logged() { kin::set_log_sink({}); }
  // The next line, empty if there is none.
  std::string next() { return lines_.try_get().value_or(""); }
  [[nodiscard]] bool is_empty() const { return lines_.empty(); }

 private:
  kin::Queue<std::string> lines_;
};

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Workers print what their initializer throws; not here.
void be_quiet() {
  const int null = ::memfd_create("stderr", MFD_CLOEXEC);
  static_cast<void>(::dup2(null, STDERR_FILENO));
  ::close(null);
}

}  // namespace

TEST_SUITE("pool_bad_input") {
  TEST_CASE_FIXTURE(Trial, "a task that ends its worker") {
    kin::Pool pool(2);
    const auto exits = death_of(pool.apply_async([]() -> int { std::exit(3); }));
    REQUIRE(exits);
    CHECK(exits->exit_code() == 3);
    CHECK(has(exits->what(), "exit code 3"));
    CHECK(goes_on(pool, 2));
    const auto exits_well = death_of(pool.apply_async([]() -> int { ::_exit(0); }));
    REQUIRE(exits_well);
    CHECK(exits_well->exit_code() == 0);

    // What the kernel does to have memory looks like this, but the kernel counts it.
    const auto killed = death_of(pool.apply_async([] { return std::raise(SIGKILL); }));
    REQUIRE(killed);
    CHECK(killed->exit_code() == -SIGKILL);
    CHECK(has(killed->what(), "SIGKILL"));
    CHECK_FALSE(has(killed->what(), "memory"));

    const auto aborts = death_of(pool.apply_async([]() -> int { std::abort(); }));
    REQUIRE(aborts);
    CHECK(aborts->exit_code() == -SIGABRT);
    if (!support::is_sanitized) {
      const auto faults = death_of(pool.apply_async([] {
        int* volatile nowhere = nullptr;
        return *nowhere;
      }));
      REQUIRE(faults);
      CHECK(faults->exit_code() == -SIGSEGV);
      CHECK(has(faults->what(), "SIGSEGV"));
    }
    const auto throws_too_late = death_of(pool.apply_async([]() noexcept -> int {
      be_quiet();
      return fail("out of a noexcept function");
    }));
    REQUIRE(throws_too_late);
    CHECK(throws_too_late->exit_code() == -SIGABRT);
    CHECK(goes_on(pool, 2));
  }

  // A chunk of a map is one task; of imap() it has one outcome.
  TEST_CASE_FIXTURE(Trial, "a death in a map") {
    kin::Pool pool(2);
    const auto die_at_five = [](int x) {
      if (x == 5) std::raise(SIGKILL);
      return x * x;
    };
    CHECK_THROWS_AS(
        static_cast<void>(pool.map({.chunk_size = 2}, die_at_five, std::views::iota(0, 10))),
        kin::WorkerDied);
    auto results = pool.imap(die_at_five, std::views::iota(0, 10));
    for (int i = 0; i < 10; ++i) {
      if (i == 5) {
        CHECK_THROWS_AS(static_cast<void>(results.next_for(patience)), kin::WorkerDied);
      } else {
        CHECK(results.next_for(patience) == i * i);
      }
    }
    CHECK_FALSE(results.next());
    CHECK(goes_on(pool, 2));
  }

  TEST_CASE_FIXTURE(Trial, "retries") {
    kin::Pool pool(2);
    const kin::Queue<int> runs;
    const auto die_until = [](const kin::Queue<int>& told, int run) {
      told.put(::getpid());
      if (static_cast<int>(told.size()) < run) std::raise(SIGKILL);
      return run;
    };
    CHECK(pool.apply({.retries = 5}, die_until, runs, 4) == 4);
    CHECK(runs.size() == 4);
    const auto death = death_of(pool.apply_async({.retries = 2}, die_until, runs, 100));
    REQUIRE(death);
    CHECK(runs.size() == 7);
    // An exception is an answer, and no death.
    const kin::Queue<int> throws;
    CHECK_THROWS_AS(static_cast<void>(pool.apply(
                        {.retries = 2},
                        [](const kin::Queue<int>& told) -> int {
                          told.put(1);
                          throw std::runtime_error("no");
                        },
                        throws)),
                    std::runtime_error);
    CHECK(throws.size() == 1);
    // Those items of a map that were done before the death are not done again. Few, and so many that
    // their results have a place of their own.
    for (const int count : {6, 1'000, 100'000}) {
      const kin::Queue<int> items;
      const auto die_once = [](const kin::Queue<int>& told, int item) {
        if (item < 6) {
          told.put(item);
          if (told.size() == 5) std::raise(SIGKILL);
        }
        return item * 3;
      };
      const auto results = pool.map({.chunk_size = count, .retries = 1},
                                    kin::partial(die_once, items), std::views::iota(0, count));
      REQUIRE(results.size() == static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == i * 3);
      CHECK(items.size() == 7);
    }
    CHECK(goes_on(pool, 2));
  }

  TEST_CASE_FIXTURE(Trial, "exceptions that the parent does not know") {
    kin::Pool pool(1);
    const auto remote_of = [&](auto task) -> std::pair<std::string, std::string> {
      try {
        pool.apply(task);
      } catch (const kin::RemoteError& error) {
        CHECK(error.pid() == pool.worker_pids().front());
        return {error.type_name(), error.message()};
      }
      return {};
    };
    const auto [type, message] = remote_of([] { throw OfTheTask(); });
    CHECK(has(type, "OfTheTask"));
    CHECK(message == "why");
    CHECK(remote_of([] { throw 5; }) == std::pair<std::string, std::string>("int", "5"));
    CHECK(remote_of([] { throw std::string("text"); }).second == "text");
    CHECK(remote_of([] { throw "literal"; }).second == "literal");
    CHECK(remote_of([] { throw std::make_shared<int>(1); }).second.empty());
    CHECK_THROWS_AS(pool.apply([] { throw std::bad_alloc(); }), std::bad_alloc);
    CHECK(goes_on(pool, 1));
  }

  TEST_CASE_FIXTURE(Trial, "what can't be read fails its own task") {
    kin::Pool pool(1);
    const auto workers = pool.worker_pids();
    const auto take = [](const Unreadable&) { return 1; };
    CHECK(failure_of(pool.apply_async(take, Unreadable())) == "can't be read");
    CHECK(failure_of(pool.map_async(take, std::vector<Unreadable>(3))) == "can't be read");
    CHECK(failure_of(pool.apply_async([] { return Unreadable(); })) == "can't be read");
    CHECK(pool.apply(square, 3) == 9);
    CHECK(pool.worker_pids() == workers);
  }

  TEST_CASE("an initializer that throws") {
    const Trial frame;
    // Which says so on stderr, in each worker.
    CHECK(outcome([] {
            be_quiet();
            kin::Pool pool(
                {.processes = 2, .initializer = [] { throw std::runtime_error("no data"); }});
            expect(has(why_broken(pool), "no data"));
            expect(has(why_broken(pool), "no data"));
            expect(eventually([&] { return pool.worker_pids().empty(); }));
            pool.close();
            expect(pool.join_for(patience));
          }) == 0);
    CHECK(outcome([] {
            be_quiet();
            kin::Pool pool({.processes = 2, .initializer = [] { std::raise(SIGKILL); }});
            expect(!why_broken(pool).empty());
          }) == 0);
    // At first only: the pool goes on.
    CHECK(outcome([] {
            be_quiet();
            const kin::Queue<int> runs;
            kin::Pool pool({.processes = 2, .initializer = [runs] {
                              runs.put(1);
                              if (runs.size() <= 2) throw std::runtime_error("not yet");
                            }});
            expect(goes_on(pool, 2));
          }) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "an initializer that throws in a thread") {
    Logged logged;
    for (const bool is_exception : {true, false}) {
      kin::ThreadPool pool({.threads = 2, .initializer = [is_exception] {
                              if (is_exception) throw std::runtime_error("no data");
                              throw 5;
                            }});
      CHECK(has(why_broken(pool), is_exception ? "no data" : "no std::exception"));
      CHECK_FALSE(why_broken(pool).empty());
      pool.close();
      CHECK(pool.join_for(patience));
      CHECK(has(logged.next(), "initializer"));
    }
  }

  TEST_CASE_TEMPLATE("a callback that throws", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    Logged logged;
    Pool pool(2);
    const auto future = pool.apply_async(
        {.callback = [](const int&) { throw std::runtime_error("in the callback"); }}, square, 3);
    CHECK(future.get_for(patience) == 9);
    CHECK(has(logged.next(), "in the callback"));
    const auto other = pool.apply_async({.callback = [](const int&) { throw 5; }}, square, 4);
    CHECK(other.get_for(patience) == 16);
    CHECK_FALSE(logged.next().empty());
    // An error that the callback does not take, as it is no std::exception.
    std::atomic<bool> was_called = false;
    const auto failed =
        pool.apply_async({.error_callback = [&](const std::exception&) { was_called = true; }},
                         []() -> int { throw 7; });
    REQUIRE(failed.wait_for(patience));
    CHECK(was_called == std::same_as<Pool, kin::Pool>);
    CHECK(pool.apply(square, 5) == 25);
    pool.close();
    CHECK(pool.join_for(patience));
  }

  TEST_CASE_TEMPLATE("a callback that uses its pool", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    // Submits, and waits for what it has submitted.
    {
      Pool pool(2);
      std::atomic<int> result = 0;
      kin::Future<int> second;
      const auto first = pool.apply_async(
          {.callback =
               [&](const int& nine) {
                 second = pool.apply_async({.callback = [&](const int& value) { result = value; }},
                                           square, nine);
                 static_cast<void>(pool.apply(square, 1));
               }},
          square, 3);
      CHECK(first.get_for(patience) == 9);
      CHECK(second.get_for(patience) == 81);
      CHECK(result == 81);
    }
    // Joins.
    {
      Pool pool(2);
      std::atomic<int> refusals = 0;
      const auto future = pool.apply_async({.callback =
                                                [&](const int&) {
                                                  try {
                                                    pool.close();
                                                    pool.join();
                                                  } catch (const std::logic_error&) {
                                                    ++refusals;
                                                  }
                                                }},
                                           square, 3);
      CHECK(future.get_for(patience) == 9);
      CHECK(refusals == 1);
      CHECK(pool.join_for(patience));
    }
    // Terminates.
    {
      Pool pool(2);
      const Gate gate;
      std::vector<kin::Future<int>> waiting;
      const auto future =
          pool.apply_async({.callback = [&](const int&) { pool.terminate(); }}, square, 3);
      CHECK(future.get_for(patience) == 9);
      CHECK_THROWS_AS(static_cast<void>(pool.apply_async(square, 3)), std::logic_error);
      CHECK(pool.join_for(patience));
    }
  }

  TEST_CASE_FIXTURE(Trial, "what is pending is cancelled, and its callbacks are called") {
    kin::Pool pool(1);
    std::vector<std::string> errors;  // by one thread, before join() returns
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 20; ++i) {
      futures.push_back(pool.apply_async(
          {.error_callback =
               [&](const std::exception& error) { errors.emplace_back(error.what()); }},
          sleep_for_ever));
    }
    pool.terminate();
    REQUIRE(pool.join_for(patience));
    CHECK(errors.size() == 20);
    for (const auto& future : futures) {
      REQUIRE(future.ready());
      CHECK(future.cancelled());
      CHECK_THROWS_AS(static_cast<void>(future.get()), kin::CancelledError);
    }
  }

  TEST_CASE_FIXTURE(Trial, "a task that makes processes") {
    kin::Pool pool(2);
    CHECK(pool.apply([] {
      kin::Process child([] { std::exit(7); });
      child.start();
      return end_of(child).value_or(-1);
    }) == 7);
    // One that nobody joins ends with its worker, or before.
    pool.apply([] {
      static std::vector<kin::Process> left;
      left.emplace_back(kin::ProcessOptions{.daemon = true}, [] { sleep_for_ever(); });
      left.back().start();
    });
    CHECK(pool.apply([] {
      const pid_t child = ::fork();
      if (child == 0) ::_exit(5);
      int status = 0;
      return ::waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : -1;
    }) == 5);
    CHECK(goes_on(pool, 2));
    pool.close();
    CHECK(pool.join_for(patience));
  }

  // The task returns in both. The copy is no worker: it answers nobody, and takes nothing.
  TEST_CASE_FIXTURE(Trial, "a task that returns twice, as it has forked") {
    kin::Pool pool(1);
    const auto workers = pool.worker_pids();
    for (int i = 0; i < 20; ++i) {
      const int copy = pool.apply([] {
        const pid_t child = ::fork();
        if (child != 0) {
          // The copy ends first.
          int status = 0;
          expect(::waitpid(child, &status, 0) == child);
        }
        return static_cast<int>(child);
      });
      CHECK(copy > 0);
      CHECK(pool.apply(own_pid) == workers.front());
    }
    CHECK(pool.worker_pids() == workers);
  }

  TEST_CASE_FIXTURE(Trial, "a pool inside of a task") {
    kin::Pool pool(2);
    const auto inner = [](int x) {
      kin::Pool own(2);
      return own.apply(square, x) + own.apply(square, 1);
    };
    CHECK(pool.map({.chunk_size = 1}, inner, {1, 2, 3}) == std::vector<int>{2, 5, 10});
    // The inner pool's workers die with the worker that made it.
    const kin::Queue<pid_t> pids;
    CHECK(death_of(pool.apply_async(
        [](const kin::Queue<pid_t>& told) -> int {
          kin::Pool own(2);
          for (const pid_t pid : own.worker_pids()) told.put(pid);
          std::raise(SIGKILL);
          return 0;
        },
        pids)));
    CHECK(pids.size() == 2);
    while (const auto pid = pids.try_get()) {
      CHECK(eventually([&] { return ::kill(*pid, 0) == -1; }));
    }
    CHECK(goes_on(pool, 2));
  }

  TEST_CASE_FIXTURE(Trial, "a pool made among threads") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    Logged logged;
    const Gate gate;
    auto thread = std::async(std::launch::async, [gate] { return wait_at(gate); });
    {
      kin::Pool pool({.processes = 2, .name = "late"});
      CHECK(goes_on(pool, 2));
    }
    const std::string line = logged.next();
    CHECK(has(line, "warning"));
    CHECK(has(line, "late"));
    CHECK(has(line, "threads"));
    gate.put(1);
    CHECK(thread.get() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "time limits") {
    kin::Pool pool(1);
    const auto begun = std::chrono::steady_clock::now();
    const auto limited = pool.apply_async({.timeout = 100ms}, sleep_for_ever);
    REQUIRE(limited.wait_for(patience));
    CHECK(std::chrono::steady_clock::now() - begun >= 100ms);
    CHECK_THROWS_AS(static_cast<void>(limited.get()), kin::TimeoutError);
    CHECK(has(failure_of(limited), "100 ms"));
    CHECK(goes_on(pool, 1));
    // A task that asks may end well.
    const auto until_asked = [] {
      expect(!kin::stop_requested());
      expect(eventually(kin::stop_requested));
      return 3;
    };
    CHECK(pool.apply({.timeout = patience, .soft_timeout = 50ms}, until_asked) == 3);
    CHECK(pool.apply({.soft_timeout = patience}, kin::stop_requested) == false);
    CHECK(pool.apply(kin::stop_requested) == false);
    CHECK_FALSE(kin::stop_requested());
    // Limits are each item's, and who keeps within them is let be.
    const auto short_naps = [](int x) {
      std::this_thread::sleep_for(20ms);
      return x;
    };
    CHECK(pool.map({.chunk_size = 5, .timeout = patience}, short_naps, {1, 2, 3, 4, 5}).size() ==
          5);
    // A limit that passes is no death: nothing is run again.
    const kin::Queue<int> runs;
    CHECK_THROWS_AS(static_cast<void>(pool.apply(
                        {.timeout = 50ms, .retries = 3},
                        [](const kin::Queue<int>& told) {
                          told.put(1);
                          return sleep_for_ever();
                        },
                        runs)),
                    kin::TimeoutError);
    CHECK(runs.size() == 1);
    // The longest is none.
    CHECK(pool.apply({.timeout = std::chrono::nanoseconds::max()}, square, 3) == 9);
    CHECK(goes_on(pool, 1));
  }

  TEST_CASE_FIXTURE(Trial, "a worker with too much memory") {
    kin::Pool pool({.processes = 1, .max_memory_per_child = std::size_t{256} << 20});
    const auto own = pool.apply(own_pid);
    CHECK(pool.apply(own_pid) == own);
    const auto keep = [](std::size_t size) {
      static std::vector<std::vector<char>> kept;
      kept.emplace_back(size, 'x');
      return static_cast<int>(::getpid());
    };
    const auto greedy = pool.apply(keep, std::size_t{320} << 20);
    if (!support::is_sanitized) CHECK(greedy == own);
    CHECK(pool.apply(own_pid) != greedy);
    CHECK(goes_on(pool, 1));
  }

  TEST_CASE_TEMPLATE("options that make no sense", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    CHECK_THROWS_AS(Pool(0), std::invalid_argument);
    CHECK_THROWS_AS(Pool(-1), std::invalid_argument);
    CHECK_THROWS_AS(Pool(1'000'000'000), std::invalid_argument);
    Pool pool(1);
    for (const std::ptrdiff_t size : {std::ptrdiff_t{0}, std::ptrdiff_t{-1}, PTRDIFF_MIN}) {
      CHECK_THROWS_AS(static_cast<void>(pool.map({.chunk_size = size}, square, {1, 2})),
                      std::invalid_argument);
      CHECK_THROWS_AS(
          static_cast<void>(pool.imap({.chunk_size = size}, square, std::vector<int>{1, 2})),
          std::invalid_argument);
    }
    CHECK(pool.map({.chunk_size = PTRDIFF_MAX}, square, {1, 2}) == std::vector<int>{1, 4});
    for (const auto limit : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
      CHECK_THROWS_AS(static_cast<void>(pool.apply({.timeout = limit}, square, 3)),
                      std::invalid_argument);
      CHECK_THROWS_AS(static_cast<void>(pool.apply({.soft_timeout = limit}, square, 3)),
                      std::invalid_argument);
      CHECK_THROWS_AS(static_cast<void>(pool.map({.timeout = limit}, square, {1, 2})),
                      std::invalid_argument);
    }
    CHECK_THROWS_AS(static_cast<void>(pool.apply({.retries = -1}, square, 3)),
                    std::invalid_argument);
    CHECK(pool.apply(square, 3) == 9);
  }

  TEST_CASE_TEMPLATE("a pool in a forked child", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    Pool pool(2);
    const Gate gate;
    const auto done = pool.apply_async(square, 3);
    REQUIRE(done.wait_for(patience));
    const auto waiting = pool.apply_async(wait_at, gate);
    const auto refuses = [](const auto& use) {
      try {
        use();
      } catch (const std::logic_error&) {
        return true;
      }
      return false;
    };
    const auto use_copy = [&] {
      expect(refuses([&] { static_cast<void>(pool.apply_async(square, 3)); }));
      expect(refuses([&] { static_cast<void>(pool.apply(square, 3)); }));
      expect(refuses([&] { static_cast<void>(pool.map(square, {1, 2, 3})); }));
      expect(refuses([&] { pool.close(); }));
      expect(refuses([&] { pool.join(); }));
      expect(refuses([&] { static_cast<void>(pool.join_for(1s)); }));
      if constexpr (std::same_as<Pool, kin::Pool>) {
        expect(refuses([&] { static_cast<void>(waiting.get()); }));
        expect(refuses([&] { static_cast<void>(waiting.cancel()); }));
      }
      pool.terminate();
      const Pool copy = std::move(pool);  // its end must not end the original
    };
    CHECK(outcome(use_copy) == 0);
    gate.put(7);
    CHECK(waiting.get_for(patience) == 7);
    CHECK(pool.apply(square, 4) == 16);
    // One that was closed, and has work left.
    const auto last = pool.apply_async(wait_at, gate);
    pool.close();
    CHECK(outcome([&] { const Pool copy = std::move(pool); }) == 0);
    gate.put(8);
    CHECK(pool.join_for(patience));
    CHECK(last.get_for(patience) == 8);
  }

  TEST_CASE_TEMPLATE("futures that outlive their pool", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    const auto greet = [](const std::string& name) { return "hello " + name; };
    kin::Future<std::string> done;
    kin::Future<std::vector<int>> map;
    kin::Future<int> running;
    kin::Future<int> failed;
    kin::Future<int> pending;
    {
      Pool pool(1);
      const Gate gate;
      done = pool.apply_async(greet, "Ada");
      map = pool.map_async(square, {1, 2, 3});
      failed = pool.apply_async([]() -> int { throw std::out_of_range("no"); });
      REQUIRE(failed.wait_for(patience));
      REQUIRE(map.wait_for(patience));
      const auto begin = [](const Gate& told, const Gate& own_gate) {
        told.put(1);
        return wait_at(own_gate);
      };
      const Gate begun;
      running = pool.apply_async(begin, begun, gate);
      REQUIRE(begun.get_for(patience));
      pending = pool.apply_async(square, 4);
      pool.terminate();
      if constexpr (std::same_as<Pool, kin::ThreadPool>) gate.put(8);
    }
    CHECK(done.get() == "hello Ada");
    CHECK(map.get() == std::vector<int>{1, 4, 9});
    CHECK_THROWS_AS(static_cast<void>(failed.get()), std::out_of_range);
    REQUIRE(running.ready());
    // A thread can't be ended.
    if constexpr (std::same_as<Pool, kin::Pool>) {
      CHECK_THROWS_AS(static_cast<void>(running.get()), kin::CancelledError);
    } else {
      CHECK(running.get() == 8);
    }
    CHECK_THROWS_AS(static_cast<void>(pending.get()), kin::CancelledError);
    CHECK(pending.cancel());
    CHECK_FALSE(done.cancel());
    CHECK_THROWS_AS(static_cast<void>(kin::Future<int>().get()), std::logic_error);
  }

  TEST_CASE_TEMPLATE("pools that were moved from", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    Pool pool(1);
    Pool moved = std::move(pool);
    CHECK(moved.apply(square, 3) == 9);
    // NOLINTBEGIN(bugprone-use-after-move)
    CHECK_THROWS_AS(static_cast<void>(pool.apply(square, 3)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(pool.map(square, {1, 2})), std::logic_error);
    CHECK_THROWS_AS(pool.close(), std::logic_error);
    CHECK_THROWS_AS(pool.join(), std::logic_error);
    pool.terminate();
    // NOLINTEND(bugprone-use-after-move)
    pool = Pool(1);
    CHECK(pool.apply(square, 4) == 16);
    moved = std::move(pool);  // the one before has ended
    CHECK(moved.apply(square, 5) == 25);
  }

  TEST_CASE_TEMPLATE("ended from several threads at once", Pool, kin::Pool, kin::ThreadPool) {
    const Trial frame;
    for (int round = 0; round < 20; ++round) {
      Pool pool(2);
      std::mutex mutex;
      std::vector<kin::Future<int>> futures;
      const auto submit = [&] {
        try {
          while (true) {
            const auto future = pool.apply_async(square, 3);
            const std::scoped_lock lock(mutex);
            futures.push_back(future);
          }
        } catch (const std::logic_error&) {  // NOLINT(bugprone-empty-catch): it was closed
        }
      };
      const auto join = [&] {
        return eventually([&] {
          try {
            return pool.join_for(patience);
          } catch (const std::logic_error&) {
            return false;  // it is open
          }
        });
      };
      const auto futures_are_there = [&](std::size_t count) {
        return eventually([&, count] {
          const std::scoped_lock lock(mutex);
          return futures.size() >= count;
        });
      };
      std::vector<std::future<void>> submitters;
      for (int i = 0; i < 2; ++i) submitters.push_back(std::async(std::launch::async, submit));
      std::vector<std::future<bool>> joiners;
      for (int i = 0; i < 2; ++i) joiners.push_back(std::async(std::launch::async, join));
      CHECK(futures_are_there(static_cast<std::size_t>(round) * 10));
      std::vector<std::future<void>> enders;
      enders.push_back(std::async(std::launch::async, [&] { pool.close(); }));
      if (round % 2 == 0) {
        enders.push_back(std::async(std::launch::async, [&] { pool.terminate(); }));
        enders.push_back(std::async(std::launch::async, [&] { pool.terminate(); }));
      }
      for (auto& one : enders) one.get();
      for (auto& one : submitters) one.get();
      for (auto& one : joiners) CHECK(one.get());
      for (const auto& future : futures) {
        REQUIRE(future.ready());
        if (future.cancelled()) {
          CHECK(round % 2 == 0);
        } else {
          CHECK(future.get() == 9);
        }
      }
    }
  }
}
