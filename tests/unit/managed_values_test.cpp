// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

template <typename T>
std::string printed(const T& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

}  // namespace

TEST_SUITE("managed values") {
  using namespace unit;

  TEST_CASE("a list reads like a list") {
    const Frame frame;
    const kin::Manager manager;
    const auto words = manager.list<std::string>({"b", "a"});
    words.append("c");
    words.sort();
    CHECK(printed(words) == R"(["a", "b", "c"])");
    words.extend({"d", "e"});
    words += {"f"};
    CHECK(words.size() == 6);
    CHECK(words.get(0) == "a");
    CHECK(words.get(-1) == "f");
    CHECK_THROWS_AS(static_cast<void>(words.get(6)), std::out_of_range);
    CHECK(words.slice(1, 3) == std::vector<std::string>{"b", "c"});
    CHECK(words.slice(-2, 100) == std::vector<std::string>{"e", "f"});
    CHECK(words.slice(3, 1).empty());
    CHECK(words.pop() == "f");
    CHECK(words.pop(0) == "a");
    words.insert(0, "z");
    words.set(1, "y");
    CHECK(words.remove("d"));
    CHECK_FALSE(words.remove("d"));
    words.reverse();
    CHECK(words.copy() == std::vector<std::string>{"e", "c", "y", "z"});
    CHECK(words.contains("y"));
    CHECK(words.count("none") == 0);
    CHECK(words.modify(0, [](std::string& it) { return it += "!"; }) == "e!");
    words.extend(words);
    CHECK(words.size() == 8);
    words.clear();
    CHECK(words.empty());
    CHECK_THROWS_AS(words.pop(), std::out_of_range);
  }

  TEST_CASE("lists in lists are where they are, ten deep") {
    const Frame frame;
    const kin::Manager manager;
    using Inner = kin::managed::List<int>;
    using Outer = kin::managed::List<Inner>;
    auto outer = manager.list<Inner>();
    {
      const auto inner = manager.list<int>({1});
      outer.append(inner);
      outer.get(0).append(2);
      CHECK(inner.copy() == std::vector{1, 2});
    }
    CHECK(outer.get(0).pop() == 2);
    CHECK(manager.statistics().objects == 2);
    outer = Outer();
    CHECK(manager.statistics().objects == 0);

    // Each node holds the next one.
    struct Node {
      kin::Proxy<Node> next;
    };
    auto first = manager.make<Node>();
    for (int depth = 1; depth < 10; ++depth) {
      const auto before = manager.make<Node>();
      before.apply([](Node& node, kin::Proxy<Node> next) { node.next = std::move(next); }, first);
      first = before;
    }
    CHECK(manager.statistics().objects == 10);
    first = {};
    CHECK(manager.statistics().objects == 0);
  }

  TEST_CASE("a value and an array") {
    const Frame frame;
    const kin::Manager manager;
    const auto value = manager.value<int>(5);
    CHECK(value.fetch_add(2) == 5);
    CHECK(value.load() == 7);
    value.store(1);
    int expected = 2;
    CHECK_FALSE(value.compare_exchange(expected, 3));
    CHECK(expected == 1);
    CHECK(value.compare_exchange(expected, 3));
    CHECK(value.modify([](int& it, int by) { return it *= by; }, 4) == 12);
    CHECK(printed(value) == "12");
    const auto array = manager.array<int>({3, 1, 2});
    array.set(0, 9);
    array.sort();
    CHECK(array.copy() == std::vector{1, 2, 9});
    CHECK(printed(array) == "[1, 2, 9]");
  }

  TEST_CASE("calls of a batch travel together") {
    const Frame frame;
    const kin::Manager manager;
    const auto numbers = manager.list<int>();
    using Store = kin::detail::ListStore<int>;
    auto batch = numbers.batch();
    const std::size_t calls = manager.statistics().calls;
    std::vector<kin::BatchResult<std::size_t>> sizes;
    for (int i = 0; i < 1000; ++i) {
      sizes.push_back(batch.apply(
          [](Store& it, int n) {
            it.items.push_back(n);
            return it.items.size();
          },
          i));
    }
    const auto failed = batch.apply([](Store& it) { return it.at(5000); });
    const auto all = batch.apply([](Store& it) { return it.items; });
    CHECK(batch.size() == 1002);
    CHECK_THROWS_AS(static_cast<void>(all.get()), kin::InvalidStateError);
    CHECK(numbers.empty());
    batch.run();
    CHECK(batch.size() == 0);
    for (std::size_t i = 0; i < sizes.size(); ++i) REQUIRE(sizes[i].get() == i + 1);
    CHECK_THROWS_AS(static_cast<void>(failed.get()), std::out_of_range);
    std::vector<int> expected(1000);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(all.get() == expected);
    batch.run();
    CHECK(manager.statistics().calls == calls + 3);
  }

  TEST_CASE("proxies travel in batches") {
    const Frame frame;
    const kin::Manager manager;
    using Inner = kin::managed::Value<int>;
    auto holder = manager.make<std::vector<Inner>>();
    auto batch = holder.batch();
    for (int i = 0; i < 3; ++i) {
      batch.apply([](std::vector<Inner>& all, Inner one) { all.push_back(std::move(one)); },
                  manager.value<int>(i));
    }
    const auto second = batch.apply([](std::vector<Inner>& all) { return all[1]; });
    const auto third = batch.apply([](std::vector<Inner>& all) { return all[2]; });
    batch.run();
    CHECK(second.get().load() == 1);
    CHECK(third.get().load() == 2);
    CHECK(manager.statistics().objects == 4);
  }
}
