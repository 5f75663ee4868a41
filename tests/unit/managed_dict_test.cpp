// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Counts = kin::managed::Dict<std::string, int>;
using Items = std::vector<std::pair<std::string, int>>;

std::string printed(const Counts& counts) {
  std::ostringstream text;
  text << counts;
  return text.str();
}

}  // namespace

TEST_SUITE("managed dict") {
  using namespace unit;

  TEST_CASE("it reads like a dictionary") {
    const Frame frame;
    const kin::Manager manager;
    const auto counts = manager.dict<std::string, int>({{"a", 1}, {"b", 2}});
    CHECK(counts.size() == 2);
    CHECK((counts["a"] == 1));
    counts["a"] = 5;
    counts["c"] = counts["b"];
    CHECK(counts.get("a") == 5);
    CHECK(counts.get("none", 9) == 9);
    CHECK(counts.try_get("c") == 2);
    CHECK_FALSE(counts.try_get("none"));
    CHECK(counts.contains("a"));
    CHECK_FALSE(counts.contains("none"));
    const int value = counts["c"];
    CHECK(value == 2);
    CHECK((counts["c"] < 3));
    CHECK(printed(counts) == R"({"a": 5, "b": 2, "c": 2})");
    CHECK(counts.setdefault("c", 7) == 2);
    CHECK(counts.setdefault("d", 7) == 7);
    CHECK(counts.pop("d") == 7);
    CHECK(counts.pop("d", 8) == 8);
    CHECK_THROWS_AS(static_cast<void>(counts.pop("d")), std::out_of_range);
    CHECK(counts.popitem() == std::pair<std::string, int>("c", 2));
    CHECK(counts.erase("b"));
    CHECK_FALSE(counts.erase("b"));
    counts.clear();
    CHECK(counts.empty());
    CHECK_THROWS_AS(static_cast<void>(counts.popitem()), std::out_of_range);
  }

  TEST_CASE("a key that equals nothing") {
    const Frame frame;
    const kin::Manager manager;
    const auto counts = manager.dict<double, int>();
    counts.set(std::nan(""), 1);
    counts.set(std::nan(""), 2);
    CHECK(counts.size() == 2);
    CHECK(counts.popitem().second == 2);
    CHECK(counts.popitem().second == 1);
    CHECK(counts.empty());
  }

  TEST_CASE("a missing key throws, and is not inserted") {
    const Frame frame;
    const kin::Manager manager;
    const auto counts = manager.dict<std::string, int>();
    CHECK_THROWS_WITH_AS(static_cast<void>(counts["a"].get()), doctest::Contains("no key a"),
                         std::out_of_range);
    CHECK(counts.empty());
  }

  TEST_CASE("keys keep the order in which they were inserted") {
    const Frame frame;
    const kin::Manager manager;
    const auto counts = manager.dict<std::string, int>();
    counts.update({{"z", 1}, {"a", 2}, {"m", 3}});
    counts["z"] = 4;
    CHECK(counts.keys() == std::vector<std::string>{"z", "a", "m"});
    CHECK(counts.values() == std::vector{4, 2, 3});
    counts.erase("z");
    counts["z"] = 5;
    CHECK(counts.items() == Items{{"a", 2}, {"m", 3}, {"z", 5}});
    const auto other = manager.dict<std::string, int>();
    other.update(counts);
    CHECK(other.copy() == counts.copy());
    Items seen;
    for (const auto& item : counts) {
      counts["new " + item.first] = 0;  // the loop goes through what was there
      seen.push_back(item);
    }
    CHECK(seen == Items{{"a", 2}, {"m", 3}, {"z", 5}});
    CHECK(counts.size() == 6);
    const Counts::Iterator none;
    CHECK(none == std::default_sentinel);
  }

  TEST_CASE("dictionaries are put together, in one call") {
    const Frame frame;
    const kin::Manager manager;
    const auto left = manager.dict<std::string, int>({{"a", 1}, {"b", 2}});
    const auto right = manager.dict<std::string, int>({{"b", 3}, {"c", 4}});
    const std::size_t calls = manager.statistics().calls;
    CHECK((left | right) == Items{{"a", 1}, {"b", 3}, {"c", 4}});
    CHECK((left | Items{{"a", 9}}) == Items{{"a", 9}, {"b", 2}});
    CHECK((Items{{"b", 0}, {"x", 0}} | left) == Items{{"b", 2}, {"x", 0}, {"a", 1}});
    CHECK(manager.statistics().calls == calls + 4);
    left |= right;
    left |= {{"d", 5}};
    left |= left;
    left.update(std::map<std::string, int>{{"e", 6}});
    CHECK(left.items() == Items{{"a", 1}, {"b", 3}, {"c", 4}, {"d", 5}, {"e", 6}});
    const kin::Manager another;
    const auto copy = another.dict<std::string, int>(right);
    copy.update(left);
    CHECK(copy.keys() == std::vector<std::string>{"b", "c", "a", "d", "e"});
    CHECK(another.dict<std::string, int>(std::map<std::string, int>{{"z", 1}}).size() == 1);
  }

  TEST_CASE("an element is no value that was read once") {
    using Element = kin::managed::Element<Counts>;
    static_assert(!std::copy_constructible<Element>);
    static_assert(std::convertible_to<Element, int>);
    static_assert(!std::convertible_to<Element&, int>);
    const Frame frame;
    const kin::Manager manager;
    const auto counts = manager.dict<std::string, int>({{"a", 1}});
    const auto element = counts["a"];
    counts["a"] = 2;
    CHECK(element.get() == 2);
    element += 3;
    element *= 4;
    element -= 2;
    element /= 3;
    CHECK((counts["a"] == 6));
  }

  TEST_CASE("to modify is one call") {
    const Frame frame;
    constexpr int threads = 4;
    constexpr int calls = 500;
    const kin::Manager manager;
    const auto counts = manager.dict<std::string, int>({{"a", 0}});
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&] {
        for (int n = 0; n < calls; ++n) {
          counts.modify("a", [](int& it) { ++it; });
          counts.modify(
              "b", 100, [](int& it, int by) { it += by; }, 2);
          counts.fetch_add("a", 1);
        }
      });
    }
    for (std::thread& thread : all) thread.join();
    CHECK((counts["a"] == 2 * threads * calls));
    CHECK((counts["b"] == 100 + 2 * threads * calls));
    const int by = 7;
    CHECK(counts.modify("b", [by](int& it) { return it = by; }) == 7);
    CHECK(counts.modify("b", kin::partial([](int more, int& it) { return it += more; }, 3)) == 10);
    CHECK_THROWS_AS(counts.modify("none", [](int& it) { ++it; }), std::out_of_range);
    int expected = 1;
    CHECK_FALSE(counts.compare_exchange("b", expected, 5));
    CHECK(expected == 10);
    CHECK(counts.compare_exchange("b", expected, 5));
    CHECK((counts["b"] == 5));
  }

  TEST_CASE("dictionaries in dictionaries are where they are") {
    const Frame frame;
    const kin::Manager manager;
    const auto outer = manager.dict<std::string, Counts>();
    std::optional<Counts> inner = manager.dict<std::string, int>({{"x", 1}});
    outer["in"] = *inner;
    outer["in"]["x"] = 2;
    CHECK(((*inner)["x"] == 2));
    inner.reset();
    const Counts again = outer["in"];
    CHECK((again["x"] == 2));
    outer.erase("in");
    CHECK((again["x"] == 2));
    CHECK(manager.statistics().objects == 2);
  }
}
