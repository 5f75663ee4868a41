// SPDX-License-Identifier: BSL-1.0

#include "base/function_ref.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <utility>

using kin::detail::FunctionRef;

namespace {

int call(FunctionRef<int(int)> function, int number) { return function(number); }

int doubled(int number) { return 2 * number; }

struct Counter {
  int calls = 0;
  int operator()(int number) { return calls += number; }
};

}  // namespace

TEST_SUITE("function_ref") {
  TEST_CASE("it calls the object that it was made from, not a copy") {
    Counter counter;
    const FunctionRef<int(int)> first = counter;
    const FunctionRef<int(int)> second = first;  // NOLINT: a copy on purpose
    CHECK(first(1) == 1);
    CHECK(second(2) == 3);
    CHECK(counter.calls == 3);
  }

  TEST_CASE("lambdas, const objects, pointers to functions and std::function are callable") {
    const int factor = 3;
    CHECK(call([&](int number) { return factor * number; }, 2) == 6);
    const auto constant = [](int /*number*/) { return 7; };
    CHECK(call(constant, 2) == 7);
    CHECK(call(&doubled, 2) == 4);
    const std::function<int(int)> wrapped = doubled;
    CHECK(call(wrapped, 4) == 8);
  }

  TEST_CASE("arguments are passed on as they are") {
    const auto take = [](FunctionRef<int(std::unique_ptr<int>)> taker) {
      return taker(std::make_unique<int>(5));
    };
    CHECK(take([](std::unique_ptr<int> owned) { return *owned; }) == 5);

    int number = 1;
    const auto change = [](int& value) -> int& { return ++value; };
    const FunctionRef<int&(int&)> changer = change;
    CHECK(&changer(number) == &number);
    CHECK(number == 2);
  }

  TEST_CASE("what the callable throws passes through") {
    const auto throws = [](int number) -> int { throw number; };
    CHECK_THROWS_AS(call(throws, 3), int);
  }
}
