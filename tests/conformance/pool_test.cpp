// SPDX-License-Identifier: BSL-1.0
//
// Pools, against CPython's _TestPool. Each T row runs with a Pool and with a ThreadPool: what is written
// once means the same with both.
//
// Fails when:
//   recycle() keeps what was lent, or lend() lends nothing: test_map_no_failfast
//   bury() does not clear_aside(): test_map_no_failfast
//   ProcessEngine::start() takes 0 workers: test_make_pool
//   read_part() does not catch: test_imap_handle_iterable_exception

#include "trial.hpp"

#include "support/bystander.hpp"

#include <algorithm>
#include <atomic>
#include <concepts>
#include <iterator>
#include <numeric>
#include <ranges>
#include <string>
#include <tuple>
#include <vector>

#include <unistd.h>

using namespace trial;

namespace {

using Gate = kin::Queue<int>;

int square(int x) { return x * x; }
int multiply(int x, int y) { return x * y; }

// Squares, when the gate lets it through.
int square_behind(const Gate& gate, int x) {
  static_cast<void>(gate.get_for(patience));
  return x * x;
}

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

std::vector<int> squares(int count) {
  std::vector<int> all = numbers(count);
  for (int& one : all) one = square(one);
  return all;
}

std::vector<std::tuple<int, int>> pairs(int count) {
  std::vector<std::tuple<int, int>> all;
  for (int i = 0; i < count; ++i) all.emplace_back(i, i);
  return all;
}

template <typename Range>
std::vector<int> all_of(Range&& results) {
  std::vector<int> all;
  for (const int one : results) all.push_back(one);
  return all;
}

struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What can't be read, or written, though its type says that it can.
struct Unsendable {
  template <typename Archive>
  void serialize(Archive& /*archive*/, unsigned /*version*/) {
    throw Refusal("this value stays here");
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

enum class Spoiled { item, step };

// Numbers up to 10; at one of them reading throws, or the step behind it.
class BadRange {
 public:
  BadRange(Spoiled what, int at) : what_(what), at_(at) {}

  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(const BadRange& range) : range_(&range) {}
    int operator*() const {
      if (range_->what_ == Spoiled::item && now_ == range_->at_) throw Refusal("no such item");
      return now_;
    }
    Iterator& operator++() {
      if (range_->what_ == Spoiled::step && now_ == range_->at_) throw Refusal("no further");
      ++now_;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
      return iterator.now_ == 10;
    }

   private:
    const BadRange* range_;
    int now_ = 0;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  Spoiled what_;
  int at_;
};

}  // namespace

#define TEST_POOL_CASE(name) TEST_CASE_TEMPLATE(name, Pool, kin::Pool, kin::ThreadPool)

TEST_SUITE("pool") {
  // Keywords are arguments that a partial binds.
  TEST_POOL_CASE("test_apply") {
    const Trial frame;
    Pool pool(4);
    CHECK(pool.apply(square, 5) == 25);
    CHECK(pool.apply(multiply, 3, 4) == 12);
    CHECK(pool.apply(kin::partial(multiply, 3), 5) == 15);
  }

  TEST_POOL_CASE("test_map") {
    const Trial frame;
    Pool pool(4);
    CHECK(pool.map(square, numbers(10)) == squares(10));
    CHECK(pool.map({.chunk_size = 20}, square, numbers(100)) == squares(100));
    CHECK(pool.map(square, std::views::iota(0, 100)) == squares(100));
  }

  TEST_POOL_CASE("test_starmap") {
    const Trial frame;
    Pool pool(4);
    CHECK(pool.starmap(multiply, pairs(10)) == squares(10));
    CHECK(pool.starmap({.chunk_size = 20}, multiply, pairs(100)) == squares(100));
  }

  TEST_POOL_CASE("test_starmap_async") {
    const Trial frame;
    Pool pool(4);
    CHECK(pool.starmap_async(multiply, pairs(100)).get() == squares(100));
  }

  TEST_POOL_CASE("test_map_async") {
    const Trial frame;
    Pool pool(4);
    CHECK(pool.map_async(square, numbers(10)).get() == squares(10));
  }

  TEST_POOL_CASE("test_map_async_callbacks") {
    const Trial frame;
    Pool pool(4);
    std::vector<std::vector<int>> results;
    std::vector<std::string> errors;
    const auto future = pool.map_async(
        {.chunk_size = 1,
         .callback = [&](const std::vector<int>& all) { results.push_back(all); },
         .error_callback = [&](const std::exception& error) { errors.emplace_back(error.what()); }},
        square, numbers(10));
    REQUIRE(future.wait_for(patience));
    REQUIRE(results.size() == 1);
    CHECK(results.front() == squares(10));
    CHECK(errors.empty());

    const auto failing = [](int) -> int { throw std::out_of_range("none of these"); };
    const auto failed = pool.map_async(
        {.chunk_size = 1,
         .callback = [&](const std::vector<int>& all) { results.push_back(all); },
         .error_callback = [&](const std::exception& error) { errors.emplace_back(error.what()); }},
        failing, numbers(10));
    REQUIRE(failed.wait_for(patience));
    CHECK(results.size() == 1);
    CHECK(errors == std::vector<std::string>{"none of these"});
  }

  TEST_CASE_FIXTURE(Trial, "test_map_unplicklable") {
    kin::Pool pool(2);
    const auto ignore = [](const Unsendable&) { return 1; };
    const std::vector<Unsendable> values(10);
    CHECK_THROWS_WITH_AS(static_cast<void>(pool.map(ignore, values)), "this value stays here",
                         Refusal);
    CHECK_THROWS_AS(static_cast<void>(pool.apply(ignore, Unsendable())), Refusal);
    CHECK(pool.map(square, numbers(10)) == squares(10));
  }

  TEST_POOL_CASE("test_map_chunksize") {
    const Trial frame;
    Pool pool(4);
    const auto future = pool.map_async({.chunk_size = 1}, square, std::vector<int>());
    REQUIRE(future.wait_for(patience));
    CHECK(future.get().empty());
  }

  TEST_POOL_CASE("test_map_handle_iterable_exception") {
    const Trial frame;
    Pool pool(4);
    for (const Spoiled what : {Spoiled::item, Spoiled::step}) {
      for (const int at : {0, 4}) {
        const BadRange items(what, at);
        CHECK_THROWS_AS(static_cast<void>(pool.map(square, items)), Refusal);
        CHECK_THROWS_AS(static_cast<void>(pool.map_async({.chunk_size = 2}, square, items)),
                        Refusal);
      }
    }
    CHECK(pool.map(square, numbers(10)) == squares(10));
  }

  // What was read before comes out first; behind the exception is the end.
  TEST_POOL_CASE("test_imap_handle_iterable_exception") {
    const Trial frame;
    Pool pool(4);
    for (const Spoiled what : {Spoiled::item, Spoiled::step}) {
      for (const int at : {0, 4}) {
        for (const int chunk_size : {1, 3}) {
          const int before = what == Spoiled::item ? at : at + 1;
          auto results = pool.imap({.chunk_size = chunk_size}, square, BadRange(what, at));
          for (int i = 0; i < before; ++i) CHECK(results.next_for(patience) == square(i));
          CHECK_THROWS_AS(static_cast<void>(results.next_for(patience)), Refusal);
          CHECK_FALSE(results.next());
          auto unordered =
              pool.imap_unordered({.chunk_size = chunk_size}, square, BadRange(what, at));
          for (int i = 0; i < before; ++i) CHECK(unordered.next_for(patience));
          CHECK_THROWS_AS(static_cast<void>(unordered.next_for(patience)), Refusal);
          CHECK_FALSE(unordered.next());
        }
      }
    }
    CHECK(all_of(pool.imap(square, numbers(10))) == squares(10));
  }

  TEST_POOL_CASE("test_async") {
    const Trial frame;
    Pool pool(4);
    const Gate gate;
    const auto future = pool.apply_async(square_behind, gate, 7);
    CHECK_FALSE(future.ready());
    gate.put(1);
    CHECK(future.get_for(patience) == 49);
  }

  // The time limit of a single call stands in its return type: nothing is thrown.
  TEST_POOL_CASE("test_async_timeout") {
    const Trial frame;
    Pool pool(4);
    const Gate gate;
    const auto future = pool.apply_async(square_behind, gate, 6);
    constexpr auto limit = 200ms;
    const auto begun = std::chrono::steady_clock::now();
    CHECK_FALSE(future.get_for(limit));
    CHECK(std::chrono::steady_clock::now() - begun >= limit);
    CHECK_FALSE(future.get_for(-1s));
    CHECK_FALSE(future.try_get());
    pool.terminate();
    gate.shutdown();
    CHECK(pool.join_for(patience));
  }

  TEST_POOL_CASE("test_imap") {
    const Trial frame;
    Pool pool(4);
    CHECK(all_of(pool.imap(square, numbers(10))) == squares(10));
    for (const int chunk_size : {1, 100}) {
      auto results = pool.imap({.chunk_size = chunk_size}, square, numbers(1000));
      for (int i = 0; i < 1000; ++i) REQUIRE(results.next_for(patience) == square(i));
      CHECK_FALSE(results.next());
      CHECK_FALSE(results.next());
    }
  }

  TEST_POOL_CASE("test_imap_unordered") {
    const Trial frame;
    Pool pool(4);
    for (const int chunk_size : {1, 100}) {
      auto results = all_of(pool.imap_unordered({.chunk_size = chunk_size}, square, numbers(1000)));
      std::ranges::sort(results);
      CHECK(results == squares(1000));
    }
  }

  TEST_POOL_CASE("test_make_pool") {
    const Trial frame;
    CHECK_THROWS_AS(Pool(-1), std::invalid_argument);
    CHECK_THROWS_AS(Pool(0), std::invalid_argument);
    Pool pool(3);
    // As many as meet each other are at work at once.
    const auto meet = [](const Gate& arrived, const Gate& gate, int number) {
      arrived.put(number);
      return gate.get_for(patience).value_or(-1);
    };
    const Gate arrived;
    const Gate gate;
    auto future = pool.map_async({.chunk_size = 1}, kin::partial(meet, arrived, gate), numbers(9));
    CHECK(eventually([&] { return arrived.size() == 3; }));
    if constexpr (std::same_as<Pool, kin::Pool>) CHECK(pool.worker_pids().size() == 3);
    for (int i = 0; i < 9; ++i) {
      CHECK(arrived.size() <= 3 + static_cast<std::size_t>(i));
      gate.put(i);
    }
    auto gates = std::move(future).get();
    std::ranges::sort(gates);
    CHECK(gates == numbers(9));
  }

  // A thread can't be ended: what two of them have begun, the gate ends.
  TEST_POOL_CASE("test_terminate") {
    const Trial frame;
    Pool pool(2);
    const Gate gate;
    const auto future =
        pool.map_async({.chunk_size = 1}, kin::partial(square_behind, gate), numbers(10'000));
    pool.terminate();
    if constexpr (std::same_as<Pool, kin::ThreadPool>) gate.shutdown();
    CHECK(pool.join_for(patience));
    CHECK(future.ready());
    if constexpr (std::same_as<Pool, kin::Pool>) {
      CHECK_THROWS_AS(static_cast<void>(future.get()), kin::CancelledError);
      CHECK(pool.worker_pids().empty());
    }
  }

  TEST_POOL_CASE("test_empty_iterable") {
    const Trial frame;
    Pool pool(1);
    const std::vector<int> nothing;
    CHECK(pool.map(square, nothing).empty());
    CHECK(all_of(pool.imap(square, nothing)).empty());
    CHECK(all_of(pool.imap_unordered(square, nothing)).empty());
    CHECK(pool.map_async(square, nothing).get().empty());
    CHECK(pool.map_async(square, std::views::iota(0, 0)).get_for(patience) == nothing);
  }

  TEST_POOL_CASE("test_wrapped_exception") {
    const Trial frame;
    kin::register_exception<Refusal>();
    Pool pool(1);
    const auto refuse = []() -> int { throw Refusal("said the task"); };
    const auto look_up = [](int key) { return std::vector<int>(3).at(static_cast<unsigned>(key)); };
    CHECK_THROWS_WITH_AS(static_cast<void>(pool.apply(refuse)), "said the task", Refusal);
    CHECK_THROWS_AS(static_cast<void>(pool.apply(look_up, 5)), std::out_of_range);
    CHECK(pool.apply(look_up, 2) == 0);
    if constexpr (std::same_as<Pool, kin::Pool>) {
      const pid_t worker = pool.worker_pids().front();
      try {
        static_cast<void>(pool.apply(refuse));
        FAIL("nothing was thrown");
      } catch (const Refusal& refusal) {
        try {
          std::rethrow_if_nested(refusal);
          FAIL("it does not say where it comes from");
        } catch (const kin::RemoteError& remote) {
          CHECK(remote.pid() == worker);
          CHECK(remote.message() == "said the task");
        }
      }
    }
  }

  // The second task ends when the map waits: so the map has waited for it, too.
  TEST_POOL_CASE("test_map_no_failfast") {
    const Trial frame;
    Pool pool(4);
    const Gate ended;
    const auto fail = [](const Gate& told, pid_t waiting, int number) -> int {
      if (number == 1) {
        static_cast<void>(eventually([waiting] { return crash::process_state(waiting) == 'S'; }));
      }
      told.put(number);
      throw std::runtime_error(std::string(std::size_t{1} << 20, 'x'));
    };
    const auto failing = kin::partial(fail, ended, ::getpid());
    CHECK_THROWS_AS(static_cast<void>(pool.map({.chunk_size = 1}, failing, numbers(2))),
                    std::runtime_error);
    CHECK(ended.size() == 2);
    // And where nobody looks at the errors.
    static_cast<void>(pool.map_async({.chunk_size = 1}, failing, numbers(2)));
    pool.close();
    CHECK(pool.join_for(patience));
    CHECK(ended.size() == 4);
  }

  TEST_POOL_CASE("test_release_task_refs") {
    const Trial frame;
    {
      Pool pool(2);
      const auto same = [](const Counted& one) { return one; };
      {
        std::vector<Counted> items;
        for (int i = 0; i < 10; ++i) items.emplace_back(i);
        const std::vector<Counted> results = pool.map({.chunk_size = 1}, same, items);
        REQUIRE(results.size() == 10);
        for (int i = 0; i < 10; ++i) CHECK(results[static_cast<std::size_t>(i)].value() == i);
        CHECK(pool.apply(same, items.front()).value() == 0);
        // Those of the parent, and no others: the pool is idle.
        CHECK(eventually([] { return Counted::alive() == 20; }));
      }
      CHECK(eventually([] { return Counted::alive() == 0; }));
      const auto left = [](int) { return Counted::alive(); };
      CHECK(pool.map({.chunk_size = 1}, left, numbers(20)) == std::vector<int>(20, 0));
    }
    CHECK(Counted::alive() == 0);
  }

  // There is no context to enter: what was ended takes nothing more.
  TEST_POOL_CASE("test_enter") {
    const Trial frame;
    Pool pool(1);
    CHECK_THROWS_AS(pool.join(), std::logic_error);
    CHECK(pool.apply(square, 2) == 4);
    pool.close();
    CHECK(pool.join_for(patience));
    CHECK_THROWS_AS(static_cast<void>(pool.apply(square, 2)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(pool.map(square, numbers(10))), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(all_of(pool.imap(square, numbers(10)))), std::logic_error);
    pool.close();
    pool.terminate();
    pool.join();
    Pool terminated(1);
    terminated.terminate();
    CHECK(terminated.join_for(patience));
    CHECK_THROWS_AS(static_cast<void>(terminated.apply(square, 2)), std::logic_error);
  }
}
