// SPDX-License-Identifier: BSL-1.0
//
// A pool in a manager's server, against the rows with an M of CPython's _TestPool, and TestSyncManagerTypes'
// test_pool.
//
// Fails when:
//   PoolStore's close() does nothing: test_enter, test_map_no_failfast
//   StartMap does not hand on the chunk size: test_map
//   ResultStore::is_ready() does not settle(): test_map_async_callbacks

#include "trial.hpp"

#include "support/bystander.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <ranges>
#include <tuple>

#include <unistd.h>

using namespace trial;

namespace {

using Gate = kin::Queue<int>;

int square(int number) { return number * number; }
int multiply(int left, int right) { return left * right; }
int square_behind(const Gate& gate, int number) {
  static_cast<void>(gate.get());
  return square(number);
}

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}
std::vector<int> squares(int count) {
  std::vector<int> all = numbers(count);
  std::ranges::transform(all, all.begin(), square);
  return all;
}
std::vector<std::tuple<int, int>> pairs(int count) {
  std::vector<std::tuple<int, int>> all;
  for (const int number : numbers(count)) all.emplace_back(number, number);
  return all;
}
template <typename Range>
std::vector<int> all_of(Range&& results) {
  std::vector<int> all;
  for (const int one : results) all.push_back(one);
  return all;
}

// What can't be written, though its type says that it can.
struct Unsendable {
  template <typename Archive>
  void serialize(Archive& /*archive*/, unsigned /*version*/) {
    throw std::domain_error("this value stays here");
  }
};

// Counts its instances in this process.
class Counted {
 public:
  Counted() noexcept { ++alive_; }
  explicit Counted(int value) noexcept : value_(value) { ++alive_; }
  Counted(const Counted& other) noexcept : value_(other.value_) { ++alive_; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive_; }

  [[nodiscard]] int value() const noexcept { return value_; }
  static int alive() noexcept { return alive_; }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& value_;
  }

 private:
  static inline std::atomic<int> alive_{0};
  int value_ = 0;
};

}  // namespace

TEST_SUITE("managed_pool") {
  TEST_CASE_FIXTURE(Trial, "test_apply") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    CHECK(pool.apply(square, 5) == 25);
    CHECK(pool.apply(multiply, 3, 4) == 12);
    CHECK(pool.apply(kin::partial(multiply, 3), 5) == 15);
  }

  TEST_CASE_FIXTURE(Trial, "test_map") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    // One chunk is one task, and each task has a worker to itself.
    const auto fresh = manager.pool({.processes = 2, .max_tasks_per_child = 1});
    CHECK(pool.map(square, numbers(10)) == squares(10));
    CHECK(pool.map({.chunk_size = 20}, square, numbers(100)) == squares(100));
    const auto pids = fresh.map(
        {.chunk_size = 100}, [](int) { return ::getpid(); }, numbers(100));
    CHECK(std::ranges::count(pids, pids.front()) == 100);
  }

  TEST_CASE_FIXTURE(Trial, "test_starmap") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    CHECK(pool.starmap(multiply, pairs(10)) == squares(10));
    CHECK(pool.starmap({.chunk_size = 20}, multiply, pairs(100)) == squares(100));
  }

  TEST_CASE_FIXTURE(Trial, "test_starmap_async") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    CHECK(pool.starmap_async(multiply, pairs(100)).get_for(patience) == squares(100));
  }

  TEST_CASE_FIXTURE(Trial, "test_map_async") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    CHECK(pool.map_async(square, numbers(10)).get_for(patience) == squares(10));
  }

  TEST_CASE_FIXTURE(Trial, "test_map_async_callbacks") {
    using Lists = kin::managed::List<std::vector<int>>;
    using Texts = kin::managed::List<std::string>;
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    const auto results = manager.list<std::vector<int>>();
    const auto errors = manager.list<std::string>();
    const auto note = kin::partial(
        [](const Lists& list, const std::vector<int>& all) { list.append(all); }, results);
    const auto note_error = kin::partial(
        [](const Texts& list, const std::exception& error) { list.append(error.what()); }, errors);
    const auto future = pool.map_async(
        {.chunk_size = 1, .callback = note, .error_callback = note_error}, square, numbers(10));
    REQUIRE(future.wait_for(patience));
    CHECK(results.copy() == std::vector<std::vector<int>>{squares(10)});
    CHECK(errors.empty());

    const auto failing = [](int) -> int { throw std::out_of_range("none of these"); };
    const auto failed = pool.map_async(
        {.chunk_size = 1, .callback = note, .error_callback = note_error}, failing, numbers(10));
    REQUIRE(failed.wait_for(patience));
    CHECK(results.size() == 1);
    CHECK(errors.copy() == std::vector<std::string>{"none of these"});
  }

  TEST_CASE_FIXTURE(Trial, "test_map_unplicklable") {
    const kin::Manager manager;
    const auto pool = manager.pool(2);
    const auto ignore = [](const Unsendable&) { return 1; };
    const std::vector<Unsendable> values(10);
    CHECK_THROWS_WITH_AS(static_cast<void>(pool.map(ignore, values)), "this value stays here",
                         std::domain_error);
    CHECK_THROWS_AS(static_cast<void>(pool.apply(ignore, Unsendable())), std::domain_error);
    CHECK(pool.map(square, numbers(10)) == squares(10));
  }

  TEST_CASE_FIXTURE(Trial, "test_async_timeout") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    const Gate gate;
    const auto result = pool.apply_async(square_behind, gate, 6);
    constexpr auto limit = 200ms;
    const auto begun = std::chrono::steady_clock::now();
    CHECK_FALSE(result.get_for(limit));
    CHECK(std::chrono::steady_clock::now() - begun >= limit);
    CHECK_FALSE(result.get_for(-1s));
    CHECK_FALSE(result.try_get());
    pool.terminate();
    CHECK(pool.join_for(patience));
    CHECK_THROWS_AS(static_cast<void>(result.get_for(patience)), kin::CancelledError);
  }

  TEST_CASE_FIXTURE(Trial, "test_imap") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    CHECK(all_of(pool.imap(square, numbers(10))) == squares(10));
    const auto results = pool.imap(square, numbers(1000));
    for (int i = 0; i < 1000; ++i) REQUIRE(results.next() == square(i));
    CHECK_FALSE(results.next());
    CHECK_FALSE(results.next());
    const auto chunked = pool.imap({.chunk_size = 100}, square, numbers(1000));
    for (int i = 0; i < 1000; ++i) REQUIRE(chunked.next() == square(i));
    CHECK_FALSE(chunked.next());
  }

  TEST_CASE_FIXTURE(Trial, "test_imap_unordered") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    auto results = all_of(pool.imap_unordered(square, numbers(1000)));
    std::ranges::sort(results);
    CHECK(results == squares(1000));
    results = all_of(pool.imap_unordered({.chunk_size = 100}, square, numbers(1000)));
    std::ranges::sort(results);
    CHECK(results == squares(1000));
  }

  TEST_CASE_FIXTURE(Trial, "test_make_pool") {
    const kin::Manager manager;
    CHECK_THROWS_AS(static_cast<void>(manager.pool(-1)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(manager.pool(0)), std::invalid_argument);
    CHECK(manager.pool(3).worker_pids().size() == 3);
  }

  TEST_CASE_FIXTURE(Trial, "test_terminate") {
    const kin::Manager manager;
    const auto pool = manager.pool(2);
    const Gate gate;
    const auto result = pool.map_async(kin::partial(square_behind, gate), numbers(10'000));
    pool.terminate();
    CHECK(pool.join_for(patience));
    CHECK_THROWS_AS(static_cast<void>(result.get_for(patience)), kin::CancelledError);
    CHECK(pool.worker_pids().empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_map_chunksize") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    const std::vector<int> nothing;
    CHECK(pool.map_async({.chunk_size = 1}, square, nothing).get_for(patience) == nothing);
  }

  TEST_CASE_FIXTURE(Trial, "test_empty_iterable") {
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const std::vector<int> nothing;
    CHECK(pool.map(square, nothing).empty());
    CHECK(all_of(pool.imap(square, nothing)).empty());
    CHECK(all_of(pool.imap_unordered(square, nothing)).empty());
    CHECK(pool.map_async(square, nothing).get_for(patience) == nothing);
  }

  TEST_CASE_FIXTURE(Trial, "test_wrapped_exception") {
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    const auto look_up = [](int key) { return std::vector<int>(3).at(static_cast<unsigned>(key)); };
    CHECK_THROWS_AS(static_cast<void>(pool.apply(look_up, 5)), std::out_of_range);
    CHECK(pool.apply(look_up, 2) == 0);
  }

  // The second task ends when the map waits: so the map has waited for it, too.
  TEST_CASE_FIXTURE(Trial, "test_map_no_failfast") {
    const kin::Manager manager;
    const auto pool = manager.pool(4);
    const Gate ended;
    const auto fail = [](const Gate& told, pid_t waiting, int number) -> int {
      if (number == 1) {
        static_cast<void>(eventually([waiting] { return crash::process_state(waiting) == 'S'; }));
      }
      told.put(number);
      throw std::runtime_error(std::string(std::size_t{1} << 20, 'x'));
    };
    const auto failing = kin::partial(fail, ended, ::getpid());
    CHECK_THROWS_AS(static_cast<void>(pool.map(failing, numbers(2))), std::runtime_error);
    CHECK(ended.size() == 2);
    // And where nobody looks at the errors.
    static_cast<void>(pool.map_async(failing, numbers(2)));
    pool.close();
    CHECK(pool.join_for(patience));
    CHECK(ended.size() == 4);
  }

  // Nothing is left in the server either.
  TEST_CASE_FIXTURE(Trial, "test_release_task_refs") {
    const kin::Manager manager;
    const auto server = manager.value<int>();
    const auto left_in_server = [&] {
      return server.apply([](int& /*zero*/) { return Counted::alive(); });
    };
    const auto pool = manager.pool(2);
    {
      std::vector<Counted> items;
      for (int i = 0; i < 10; ++i) items.emplace_back(i);
      const auto same = [](const Counted& one) { return one; };
      const std::vector<Counted> results = pool.map(same, items);
      REQUIRE(results.size() == 10);
      for (int i = 0; i < 10; ++i) CHECK(results[static_cast<std::size_t>(i)].value() == i);
      CHECK(Counted::alive() == 20);
    }
    CHECK(Counted::alive() == 0);
    CHECK(eventually([&] { return left_in_server() == 0; }));
    CHECK(pool.map([](int) { return Counted::alive(); }, numbers(20)) == std::vector<int>(20, 0));
  }

  TEST_CASE_FIXTURE(Trial, "test_enter") {
    const kin::Manager manager;
    const auto pool = manager.pool(1);
    CHECK_THROWS_AS(pool.join(), std::logic_error);
    CHECK(pool.apply(square, 2) == 4);
    pool.close();
    CHECK(pool.join_for(patience));
    CHECK_THROWS_AS(static_cast<void>(pool.apply(square, 2)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(pool.map(square, numbers(10))), std::logic_error);
    pool.close();
    pool.terminate();
    pool.join();
    const auto terminated = manager.pool(1);
    terminated.terminate();
    CHECK(terminated.join_for(patience));
    CHECK_THROWS_AS(static_cast<void>(terminated.apply(square, 2)), std::logic_error);
  }

  // TestSyncManagerTypes
  TEST_CASE_FIXTURE(Trial, "test_pool") {
    const kin::Manager manager;
    const auto pool = manager.pool(2);
    CHECK(outcome([pool] { expect(pool.map(square, numbers(10)) == squares(10)); }) == 0);
    CHECK(outcome([pool] {
            pool.terminate();
            expect(pool.join_for(patience));
          }) == 0);
    CHECK_THROWS_AS(static_cast<void>(pool.apply(square, 2)), std::logic_error);
  }
}
