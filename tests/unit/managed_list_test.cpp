// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Numbers = std::vector<int>;
using Slice = kin::managed::Slice;

}  // namespace

TEST_SUITE("managed list") {
  using namespace unit;

  TEST_CASE("slices are Python's") {
    const Frame frame;
    struct Case {
      Slice slice;
      Numbers expected;
    };
    const auto none = std::nullopt;
    const std::vector<Case> cases = {
        {{}, {0, 1, 2, 3, 4, 5}},      {{none, none, -1}, {5, 4, 3, 2, 1, 0}},
        {{1, 4, 1}, {1, 2, 3}},        {{-2, none, 1}, {4, 5}},
        {{none, -2, 1}, {0, 1, 2, 3}}, {{none, none, 2}, {0, 2, 4}},
        {{1, none, 2}, {1, 3, 5}},     {{none, none, -2}, {5, 3, 1}},
        {{4, 1, -1}, {4, 3, 2}},       {{1, 4, -1}, {}},
        {{-100, 100, 4}, {0, 4}},      {{100, -100, -4}, {5, 1}},
        {{5, none, -100}, {5}},        {{3, 3, 1}, {}},
        {{2, none, PTRDIFF_MAX}, {2}}, {{2, none, PTRDIFF_MIN}, {2}},
    };
    const kin::Manager manager;
    const Numbers all = {0, 1, 2, 3, 4, 5};
    const auto numbers = manager.list<int>(all);
    for (const Case& one : cases) {
      CAPTURE(one.slice.first.value_or(-1000));
      CAPTURE(one.slice.last.value_or(-1000));
      CAPTURE(one.slice.step);
      CHECK(numbers.slice(one.slice) == one.expected);
      const auto rest = manager.list<int>(all);
      rest.erase(one.slice);
      CHECK(rest.size() + one.expected.size() == all.size());
      for (const int gone : one.expected) CHECK_FALSE(rest.contains(gone));
    }
    CHECK_THROWS_AS(static_cast<void>(numbers.slice({.step = 0})), std::invalid_argument);
    CHECK(numbers.slice(1, 3) == Numbers{1, 2});
    CHECK(manager.list<int>().slice({.step = -1}).empty());
  }

  TEST_CASE("what a slice is set to takes its place") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>({0, 1, 2, 3, 4, 5});
    numbers.set_slice({.first = 1, .last = 3}, {10, 20, 30});
    CHECK(numbers.copy() == Numbers{0, 10, 20, 30, 3, 4, 5});
    numbers.set_slice({.first = 1, .last = 4}, {});
    CHECK(numbers.copy() == Numbers{0, 3, 4, 5});
    numbers.set_slice({.step = 2}, {-1, -2});
    CHECK(numbers.copy() == Numbers{-1, 3, -2, 5});
    numbers.set_slice({.step = -1}, {1, 2, 3, 4});
    CHECK(numbers.copy() == Numbers{4, 3, 2, 1});
    CHECK_THROWS_AS(numbers.set_slice({.step = 2}, {1, 2, 3}), std::invalid_argument);
    // Before 3, as in Python: the end is not before the beginning.
    numbers.set_slice({.first = 1, .last = 0}, {9});
    CHECK(numbers.copy() == Numbers{4, 9, 3, 2, 1});
    numbers.set_slice({.first = 100}, {7, 8});
    CHECK(numbers.copy() == Numbers{4, 9, 3, 2, 1, 7, 8});
    numbers.set_slice({}, numbers);
    CHECK(numbers.size() == 7);

    const auto array = manager.array<int>({1, 2, 3});
    array.set_slice({.first = 1}, {8, 9});
    CHECK(array.copy() == Numbers{1, 8, 9});
    CHECK_THROWS_AS(array.set_slice({.first = 1}, {8}), std::invalid_argument);
    CHECK(array.copy() == Numbers{1, 8, 9});
  }

  TEST_CASE("elements are taken out by their place") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>({0, 1, 2, 3});
    numbers.erase(-1);
    numbers.erase(0);
    CHECK(numbers.copy() == Numbers{1, 2});
    CHECK_THROWS_AS(numbers.erase(2), std::out_of_range);
    CHECK(numbers.size() == 2);
  }

  TEST_CASE("an element is where it is") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>({1, 2, 3});
    numbers[0] = 10;
    numbers[-1] = numbers[0];
    const int last = numbers[2];
    CHECK(last == 10);
    numbers[1] += 5;
    CHECK((numbers[1] == 7));
    CHECK(numbers.fetch_add(1, 2) == 7);
    int expected = 7;
    CHECK_FALSE(numbers.compare_exchange(1, expected, 0));
    CHECK(expected == 9);
    CHECK(numbers.compare_exchange(1, expected, 0));
    CHECK(numbers.copy() == Numbers{10, 0, 10});
    CHECK_THROWS_AS((numbers[3] = 1), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(numbers[-4].get()), std::out_of_range);
  }

  TEST_CASE("the first that is equal is found") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>({5, 6, 5, 6});
    CHECK(numbers.index(6) == 1U);
    CHECK(numbers.index(6, 2) == 3U);
    CHECK(numbers.index(5, -2) == 2U);
    CHECK(numbers.index(5, 1, 2) == std::nullopt);
    CHECK(numbers.index(5, 3, 1) == std::nullopt);
    CHECK(numbers.index(7) == std::nullopt);
  }

  TEST_CASE("lists are put together and repeated") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>({1, 2});
    const auto more = manager.list<int>({3});
    CHECK((numbers + more) == Numbers{1, 2, 3});
    CHECK((numbers + Numbers{4}) == Numbers{1, 2, 4});
    CHECK((Numbers{4} + numbers) == Numbers{4, 1, 2});
    CHECK((numbers * 2) == Numbers{1, 2, 1, 2});
    CHECK((2 * numbers) == Numbers{1, 2, 1, 2});
    CHECK((numbers * -1).empty());
    CHECK(numbers.copy() == Numbers{1, 2});
    numbers += more;
    numbers += {4};
    numbers += std::views::iota(5, 7);
    CHECK(numbers.copy() == Numbers{1, 2, 3, 4, 5, 6});
    more *= 3;
    CHECK(more.copy() == Numbers{3, 3, 3});
    more += more;
    CHECK(more.size() == 6);
    CHECK_THROWS_AS(more *= std::numeric_limits<std::ptrdiff_t>::max(), std::length_error);
    CHECK(more.size() == 6);
    more *= 0;
    CHECK(more.empty());
    more *= std::numeric_limits<std::ptrdiff_t>::max();
    CHECK(more.empty());
  }

  TEST_CASE("what takes another list of the manager is one call") {
    const Frame frame;
    const kin::Manager manager;
    const auto left = manager.list<int>({1});
    const auto right = manager.list<int>({2});
    const std::size_t calls = manager.statistics().calls;
    left += right;
    left.extend(left);
    left.set_slice({.first = 0, .last = 1}, right);
    CHECK((left + right) == Numbers{2, 2, 1, 2, 2});
    CHECK(manager.statistics().calls == calls + 5);
  }

  TEST_CASE("lists of two managers can be put together") {
    const Frame frame;
    const kin::Manager here;
    const kin::Manager there;
    const auto left = here.list<int>({1});
    const auto right = there.list<int>({2});
    left += right;
    CHECK((left + right) == Numbers{1, 2, 2});
    const auto copy = here.list<int>(right);
    CHECK(copy.copy() == Numbers{2});
    const std::array<int, 2> numbers = {8, 9};
    CHECK(here.array<int>(numbers).copy() == Numbers{8, 9});
  }

  TEST_CASE("a list is sorted as a function says, in the server") {
    const Frame frame;
    const kin::Manager manager;
    const auto words = manager.list<std::string>({"bb", "a", "ccc", "aa"});
    words.sort(std::greater<>());
    CHECK(words.copy() == std::vector<std::string>{"ccc", "bb", "aa", "a"});
    words.sort_by([](const std::string& word) { return word.size(); });
    CHECK(words.copy() == std::vector<std::string>{"a", "bb", "aa", "ccc"});
    words.sort();
    CHECK(words.copy() == std::vector<std::string>{"a", "aa", "bb", "ccc"});
    const char first = 'b';
    words.sort([first](const std::string& left, const std::string& right) {
      return (left[0] == first) > (right[0] == first);
    });
    CHECK(words.copy() == std::vector<std::string>{"bb", "a", "aa", "ccc"});
    CHECK_THROWS_AS(words.sort([](const std::string&, const std::string&) -> bool {
      throw std::runtime_error("these can't be compared");
    }),
                    std::runtime_error);
    CHECK(words.copy() == std::vector<std::string>{"bb", "a", "aa", "ccc"});
  }

  TEST_CASE("a loop goes through the elements of its beginning") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>({1, 2});
    static_assert(std::ranges::input_range<decltype(numbers)>);
    Numbers seen;
    for (const int number : numbers) {
      numbers.append(number + 10);
      seen.push_back(number);
    }
    CHECK(seen == Numbers{1, 2});
    CHECK(numbers.copy() == Numbers{1, 2, 11, 12});
    const kin::managed::List<int>::Iterator none;
    CHECK(none == std::default_sentinel);
  }
}
