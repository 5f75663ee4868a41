// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/manager.hpp>
#include <kin/process.hpp>

#include <doctest/doctest.h>

#include <compare>
#include <cstddef>
#include <iterator>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Words = std::set<std::string>;

}  // namespace

TEST_SUITE("managed set") {
  using namespace unit;

  TEST_CASE("a set reads like a set") {
    const Frame frame;
    const kin::Manager manager;
    const auto words = manager.set<std::string>({"b", "a", "b"});
    CHECK(words.size() == 2);
    CHECK(words.add("c"));
    CHECK_FALSE(words.add("c"));
    CHECK(words.contains("c"));
    CHECK(words.discard("c"));
    CHECK_FALSE(words.discard("c"));
    CHECK_FALSE(words.contains("c"));
    words.remove("b");
    CHECK_THROWS_AS(words.remove("b"), std::out_of_range);
    words.update({"a", "x", "y"});
    CHECK(words.copy() == std::set<std::string>{"a", "x", "y"});
    words.update(manager.set<std::string>({"z"}));
    words.difference_update({"x", "none"});
    std::ostringstream text;
    text << words;
    CHECK(text.str() == R"({"a", "y", "z"})");
    words.difference_update(words);
    CHECK(words.empty());
    CHECK_THROWS_AS(words.pop(), std::out_of_range);
    CHECK(words.add("last"));
    CHECK(words.pop() == "last");
    CHECK(words.empty());
  }

  TEST_CASE("an iteration goes through the elements of its beginning") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.set<int>({3, 1, 2});
    std::vector<int> seen;
    for (const int number : numbers) {
      numbers.add(number + 10);
      seen.push_back(number);
    }
    CHECK(seen == std::vector{1, 2, 3});
    CHECK(numbers.size() == 6);
    const kin::managed::Set<int>::Iterator none;
    CHECK(none == std::default_sentinel);
    numbers.clear();
    CHECK(numbers.empty());
  }

  TEST_CASE("operators take plain sets on both sides, and give plain sets") {
    const Frame frame;
    const kin::Manager manager;
    const auto words = manager.set<std::string>({"a", "b", "c"});
    const Words some = {"a", "x"};
    CHECK((words | some) == Words{"a", "b", "c", "x"});
    CHECK((some | words) == Words{"a", "b", "c", "x"});
    CHECK((words & some) == Words{"a"});
    CHECK((some & words) == Words{"a"});
    CHECK((words - some) == Words{"b", "c"});
    CHECK((some - words) == Words{"x"});
    CHECK((words ^ some) == Words{"b", "c", "x"});
    CHECK((some ^ words) == Words{"b", "c", "x"});
    CHECK(words.union_with({"y"}) == Words{"a", "b", "c", "y"});
    CHECK(words.intersection({"c", "y"}) == Words{"c"});
    CHECK(words.difference({"c"}) == Words{"a", "b"});
    CHECK(words.symmetric_difference({"c", "y"}) == Words{"a", "b", "y"});
    CHECK(words.copy() == Words{"a", "b", "c"});
  }

  TEST_CASE("operators that assign change the set where it is") {
    const Frame frame;
    const kin::Manager manager;
    const auto words = manager.set<std::string>({"a", "b", "c"});
    const auto same = words;
    CHECK(&(words |= {"d", "e"}) == &words);
    CHECK(same.copy() == Words{"a", "b", "c", "d", "e"});
    words &= Words{"a", "b", "d", "x"};
    CHECK(same.copy() == Words{"a", "b", "d"});
    words -= {"b"};
    CHECK(same.copy() == Words{"a", "d"});
    words ^= {"d", "f"};
    CHECK(same.copy() == Words{"a", "f"});
    words.intersection_update({"a"});
    words.symmetric_difference_update({"b"});
    CHECK(same.copy() == Words{"a", "b"});
  }

  TEST_CASE("comparisons are those of subsets") {
    const Frame frame;
    const kin::Manager manager;
    const auto words = manager.set<std::string>({"a", "b"});
    const Words less = {"a"};
    const Words same = {"a", "b"};
    const Words more = {"a", "b", "c"};
    const Words others = {"a", "x"};
    CHECK((words == same));
    CHECK((words != less));
    CHECK((words > less));
    CHECK((words >= same));
    CHECK_FALSE((words > same));
    CHECK((words < more));
    CHECK((more > words));
    CHECK((words <= same));
    CHECK_FALSE((words <= others));
    CHECK_FALSE((words >= others));
    CHECK((words <=> others) == std::partial_ordering::unordered);
    CHECK(words.issubset(more));
    CHECK(words.issuperset(less));
    CHECK_FALSE(words.issubset({"a", "x", "y"}));
    CHECK(words.isdisjoint({"x"}));
    CHECK_FALSE(words.isdisjoint({"x", "b"}));
    const auto copy = manager.set<std::string>(words);
    CHECK((words <= copy));
    CHECK((words >= copy));
    CHECK_FALSE((words == copy));  // another set, as with all proxies
    CHECK((words == copy.copy()));
  }

  TEST_CASE("what takes another set of the manager is one call") {
    const Frame frame;
    const kin::Manager manager;
    const auto left = manager.set<int>({1, 2, 3});
    const auto right = manager.set<int>({3, 4});
    const std::size_t calls = manager.statistics().calls;
    left |= right;
    CHECK((left & right) == std::set{3, 4});
    CHECK((left > right));
    left -= left;
    CHECK(manager.statistics().calls == calls + 5);
    CHECK(left.empty());
    left ^= right;
    left ^= left;
    CHECK(left.empty());
  }

  TEST_CASE("sets of two managers can be combined") {
    const Frame frame;
    const kin::Manager here;
    const kin::Manager there;
    const auto left = here.set<int>({1, 2, 3});
    const auto right = there.set<int>({3, 4});
    left |= right;
    CHECK((left - right) == std::set{1, 2});
    CHECK((left > right));
    CHECK(left.copy() == std::set{1, 2, 3, 4});
    CHECK(here.statistics().objects == 1);
  }

  TEST_CASE("a set is made of any elements") {
    const Frame frame;
    const kin::Manager manager;
    const std::vector<int> numbers = {2, 1, 2};
    const auto of_vector = manager.set<int>(numbers);
    CHECK(of_vector.copy() == std::set{1, 2});
    const auto of_list = manager.set<int>(manager.list<int>({3, 3}));
    CHECK(of_list.copy() == std::set{3});
    const auto of_keys =
        manager.set<std::string>(manager.dict<std::string, int>({{"a", 1}, {"b", 2}}).keys());
    CHECK(of_keys.copy() == Words{"a", "b"});
    of_vector.update(std::views::iota(5, 7));
    of_vector |= manager.list<int>({9});
    CHECK(of_vector.copy() == std::set{1, 2, 5, 6, 9});
    CHECK(manager.set(std::set{4}).copy() == std::set{4});
    CHECK(manager.set<int>().empty());
  }

  TEST_CASE("of two that add the same, one is told that it is new") {
    const Frame frame;
    const kin::Manager manager;
    const auto claimed = manager.set<int>();
    const auto counts = manager.list<int>();
    const auto claim = [=] {
      int mine = 0;
      for (int i = 0; i < 1000; ++i) mine += claimed.add(i) ? 1 : 0;
      counts.append(mine);
    };
    kin::Process first(claim);
    kin::Process second(claim);
    first.start();
    second.start();
    first.join();
    second.join();
    REQUIRE(counts.size() == 2);
    CHECK(counts.get(0) + counts.get(1) == 1000);
  }
}
