// SPDX-License-Identifier: BSL-1.0
//
// Executors, against CPython's ExecutorTest: each case with processes and with threads.
//
// Fails when:
//   ResultRange::State::current() does not look at failures: test_map_exception,
//     test_map_timeout_from_callable

#include "workers.hpp"

#include <cmath>
#include <ranges>
#include <stdexcept>
#include <utility>

using namespace trial;

namespace {

int power(int base, int exponent) {
  int result = 1;
  for (int i = 0; i < exponent; ++i) result *= base;
  return result;
}

std::pair<int, int> divide(int a, int b) {
  if (b == 0) throw std::domain_error("a division by zero");
  return {a / b, a % b};
}

int late_at_three(int x) {
  if (x == 3) throw kin::TimeoutError("of the task");
  return x;
}

std::vector<int> numbers(int count) {
  const auto all = std::views::iota(0, count);
  return {all.begin(), all.end()};
}

// All results, or what stands in their place.
template <typename Results>
auto taken(Results&& results) {
  std::vector<typename std::remove_cvref_t<Results>::Result> all;
  for (auto& one : results) all.push_back(one);
  return all;
}

// Has a name of its own for each thing that submit() has one for.
struct Self {
  int self = 0;
  [[nodiscard]] int sum(int function, int arguments) const { return self + function + arguments; }
};

}  // namespace

TEST_SUITE("executor") {
  TEST_CASE_TEMPLATE("test_submit", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    CHECK(executor.submit(power, 2, 8).result() == 256);
    CHECK(executor.submit([](int x) { return x + 1; }, 1).get() == 2);
  }

  // Python passes `self=` and `fn=`. Here arguments have no names; what may go wrong are parameters that
  // are called as those of submit(), and members, whose `this` is one.
  TEST_CASE_TEMPLATE("test_submit_keyword", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    CHECK(executor.submit(&Self::sum, Self{1}, 10, 100).result() == 111);
    CHECK(executor.submit(&Self::self, Self{7}).result() == 7);
    CHECK(executor.submit(kin::partial(power, 2), 9).result() == 512);
  }

  TEST_CASE_TEMPLATE("test_map_exception", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const std::vector<int> ones(4, 1);
    const std::vector<int> divisors{2, 3, 0, 1};
    for (const std::ptrdiff_t chunk_size : {1, 2, 3, 10}) {
      CAPTURE(chunk_size);
      auto results = executor.map({.chunk_size = chunk_size}, divide, ones, divisors);
      CHECK(results.next() == std::pair(0, 1));
      CHECK(results.next() == std::pair(0, 1));
      CHECK_THROWS_AS(static_cast<void>(results.next()), std::domain_error);
      CHECK(results.next() == std::pair(1, 0));
      CHECK_FALSE(results.next());
      CHECK_FALSE(results.next());
    }
    // A loop that goes on by itself.
    auto results = executor.map(divide, ones, divisors);
    int failed = 0;
    std::vector<std::pair<int, int>> others;
    for (auto at = results.begin(); at != results.end(); ++at) {
      try {
        others.push_back(*at);
      } catch (const std::domain_error&) {
        ++failed;
      }
    }
    CHECK(failed == 1);
    CHECK(others.size() == 3);
  }

  TEST_CASE_TEMPLATE("test_map_timeout", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const Gate gate;
    const std::vector<Gate> gates(2, gate);
    const auto begin = std::chrono::steady_clock::now();
    auto results = executor.map({.timeout = 50ms}, pass, gates, std::vector<int>{1, 2});
    CHECK_THROWS_AS(static_cast<void>(taken(results)), kin::TimeoutError);
    CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
    gate.open(2);
    CHECK(results.next() == 1);
    CHECK(results.next() == 2);
  }

  TEST_CASE_TEMPLATE("test_map_timeout_from_callable", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    auto results = executor.map({.timeout = patience}, late_at_three, std::views::iota(1, 6));
    CHECK(results.next() == 1);
    CHECK(results.next() == 2);
    CHECK_THROWS_WITH_AS(static_cast<void>(results.next()), "of the task", kin::TimeoutError);
    CHECK(results.next() == 4);
    CHECK(results.next() == 5);
    CHECK_FALSE(results.next());
  }

  // The type is checked when the program is compiled.
  TEST_CASE("test_map_buffersize_type_validation") {
    using Size = decltype(kin::ExecutorMapOptions::buffer_size);
    static_assert(std::is_constructible_v<Size, int>);
    static_assert(std::is_constructible_v<Size, std::nullopt_t>);
    static_assert(!std::is_constructible_v<Size, std::string>);
    static_assert(!std::is_constructible_v<Size, const char*>);
    CHECK_FALSE(kin::ExecutorMapOptions{}.buffer_size);
  }

  TEST_CASE_TEMPLATE("test_map_buffersize_value_validation", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    for (const std::ptrdiff_t size : {0, -1}) {
      CHECK_THROWS_AS(static_cast<void>(executor.map({.buffer_size = size}, square, numbers(3))),
                      std::invalid_argument);
    }
    CHECK(executor.submit(square, 3).get() == 9);
  }

  TEST_CASE_TEMPLATE("test_map_buffersize", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const std::vector<int> items{1, 2, 3, 4, 5};
    for (const std::ptrdiff_t size : {1, 2, 5, 10}) {
      for (const std::ptrdiff_t chunk_size : {1, 2}) {
        CAPTURE(size);
        CAPTURE(chunk_size);
        CHECK(taken(executor.map({.chunk_size = chunk_size, .buffer_size = size}, square, items)) ==
              std::vector<int>{1, 4, 9, 16, 25});
      }
    }
  }

  TEST_CASE_TEMPLATE("test_map_buffersize_on_multiple_iterables", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const std::vector<int> exponents{3, 2, 1, 0};
    for (const std::ptrdiff_t size : {1, 2, 4, 8}) {
      CAPTURE(size);
      CHECK(taken(executor.map({.buffer_size = size}, power, std::views::iota(2, 9), exponents)) ==
            std::vector<int>{8, 9, 4, 1});
    }
  }

  TEST_CASE_TEMPLATE("test_map_buffersize_on_infinite_iterable", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    auto results = executor.map({.buffer_size = 2}, square, std::views::iota(0));
    for (int i = 0; i < 100; ++i) CHECK(results.next() == i * i);
    auto of_two = executor.map({.buffer_size = 3}, power, std::views::iota(1), std::views::iota(1));
    CHECK(of_two.next() == 1);
    CHECK(of_two.next() == 4);
    CHECK(of_two.next() == 27);
  }

  TEST_CASE_TEMPLATE("test_map_buffersize_on_empty_iterable", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    CHECK_FALSE(executor.map({.buffer_size = 2}, square, std::vector<int>{}).next());
    CHECK_FALSE(executor.map(square, std::vector<int>{}).next());
    CHECK_FALSE(
        executor.map({.buffer_size = 2}, power, std::vector<int>{}, std::views::iota(0)).next());
  }

  TEST_CASE_TEMPLATE("test_map_buffersize_when_buffer_is_full", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    int fetched = 0;
    const auto counting = std::views::iota(0) | std::views::transform([&](int x) {
                            ++fetched;
                            return x;
                          });
    auto results = executor.map({.buffer_size = 4}, square, counting);
    CHECK(fetched == 4);
    CHECK(results.next() == 0);
    CHECK(fetched == 5);
  }

  // Looked at in this process; see test_ressources_gced_in_workers for the other.
  TEST_CASE_TEMPLATE("test_no_stale_references", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const Gate gate;
    {
      const auto bound = kin::partial(
          [](const Counted& counted, const Gate& at) { return pass(at, counted.call()); },
          Counted(1));
      static_cast<void>(executor.submit(bound, gate));
      static_cast<void>(executor.submit(&Counted::call, Counted(2)));
    }
    gate.open();
    CHECK(eventually([] { return Counted::living(1) == 0 && Counted::living(2) == 0; }));
    // It was called, or these would come later.
    CHECK(executor.submit(square, 3).get() == 9);
  }

  TEST_CASE_TEMPLATE("test_free_reference", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(2);
    const auto make = [](int number) { return Counted(static_cast<std::size_t>(number)); };
    auto results = executor.map(make, std::views::iota(0, 10));
    for (std::size_t i = 0; i < 10; ++i) {
      auto result = results.next();
      REQUIRE(result);
      CHECK(result->number() == i);
      CHECK(Counted::living(i) == 1);
      result.reset();
      CHECK(Counted::living(i) == 0);
    }
  }

  // Here the one who asks is never false; what might be lost are exceptions with nothing in them.
  TEST_CASE_TEMPLATE("test_swallows_falsey_exceptions", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    Executor executor(1);
    const auto without_text = executor.submit([]() -> int { throw std::runtime_error(""); });
    CHECK_THROWS_WITH_AS(static_cast<void>(without_text.result()), "", std::runtime_error);
    const auto base = executor.submit([]() -> int { throw std::exception(); });
    CHECK_THROWS_AS(static_cast<void>(base.result()), std::exception);
    const auto zero = executor.submit([]() -> int { throw 0; });
    if constexpr (has_processes<Executor>) {
      CHECK_THROWS_AS(static_cast<void>(zero.result()), kin::RemoteError);
    } else {
      CHECK_THROWS_AS(static_cast<void>(zero.result()), int);
    }
    CHECK(executor.submit(square, 2).result() == 4);
  }
}
