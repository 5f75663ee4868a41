// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <concepts>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

template <typename T>
std::string printed(const T& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

}  // namespace

TEST_SUITE("managed name space") {
  using namespace unit;

  TEST_CASE("values of any types are there by their names") {
    const Frame frame;
    const kin::Manager manager;
    const auto names = manager.name_space();
    names["x"] = 5;
    names.set("text", "hello");
    names["all"] = std::vector<std::string>{"a", "b"};
    const int x = names["x"];
    CHECK(x == 5);
    CHECK(names.get<int>("x") == 5);
    CHECK(names.at<int>("x") == 5);
    const std::string text = names["text"];
    CHECK(text == "hello");
    CHECK(names["all"].get<std::vector<std::string>>().size() == 2);
    CHECK(printed(names) == R"({all: ..., text: "hello", x: 5})");
    CHECK(printed(names["text"]) == R"("hello")");
    CHECK(names.names() == std::vector<std::string>{"all", "text", "x"});
    CHECK(names.size() == 3);
    CHECK(names.type_name("x") == "int");
    CHECK(names.contains("x"));
    CHECK(names.pop<int>("x") == 5);
    CHECK_FALSE(names.contains("x"));
    CHECK(names.erase("text"));
    CHECK_FALSE(names.erase("text"));
    names.clear();
    CHECK(names.empty());
    CHECK(printed(names) == "{}");
  }

  TEST_CASE("a name that is not there throws, and says which") {
    const Frame frame;
    const kin::Manager manager;
    const auto names = manager.name_space();
    CHECK_THROWS_WITH_AS(static_cast<void>(names.get<int>("port")), doctest::Contains("port"),
                         std::out_of_range);
    CHECK_THROWS_AS(printed(names["port"]), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(names.type_name("port")), std::out_of_range);
    CHECK_THROWS_AS(names.pop<int>("port"), std::out_of_range);
    CHECK_THROWS_AS(names.modify<int>("port", [](int& it) { ++it; }), std::out_of_range);
    CHECK_FALSE(names.try_get<int>("port"));
    CHECK(names.get("port", 80) == 80);
    CHECK(names.empty());
  }

  TEST_CASE("a value is read as what it was set") {
    const Frame frame;
    const kin::Manager manager;
    const auto names = manager.name_space();
    names["x"] = 5;
    const auto says = doctest::Contains("\"x\" is of type int, not std::string");
    CHECK_THROWS_WITH_AS(static_cast<void>(names.get<std::string>("x")), says, kin::Error);
    CHECK_THROWS_WITH_AS(static_cast<void>(names.try_get<std::string>("x")), says, kin::Error);
    CHECK_THROWS_AS(static_cast<void>(names.get<long>("x")), kin::Error);
    CHECK_THROWS_AS(names.pop<long>("x"), kin::Error);
    names["x"] = "now text";
    CHECK(names.get<std::string>("x") == "now text");
    CHECK(names.type_name("x") == "std::string");
  }

  TEST_CASE("proxies and queues live as long as they are stored") {
    const Frame frame;
    const kin::Manager manager;
    const auto names = manager.name_space();
    names["list"] = manager.list<int>({1});
    CHECK(manager.statistics().objects == 2);
    names.get<kin::managed::List<int>>("list").append(2);
    CHECK(printed(names) == "{list: [1, 2]}");
    {
      const kin::Queue<int> queue;
      queue.put(7);
      names["queue"] = queue;
    }
    CHECK(names.get<kin::Queue<int>>("queue").get() == 7);
    names["list"] = 0;
    CHECK(manager.statistics().objects == 1);
    // A space in a space.
    names["inner"] = manager.name_space();
    names.get<kin::managed::NameSpace>("inner")["y"] = 1;
    CHECK(names.get<kin::managed::NameSpace>("inner").get<int>("y") == 1);
    names.clear();
    CHECK(manager.statistics().objects == 1);
  }

  TEST_CASE("to modify is one call") {
    const Frame frame;
    constexpr int threads = 4;
    constexpr int calls = 300;
    const kin::Manager manager;
    const auto names = manager.name_space();
    names["hits"] = 0;
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&] {
        for (int n = 0; n < calls; ++n) {
          names.modify<int>(
              "hits", [](int& hits, int by) { hits += by; }, 2);
        }
      });
    }
    for (std::thread& thread : all) thread.join();
    CHECK(names.get<int>("hits") == 2 * threads * calls);
    CHECK(names.modify<int>("hits", [](int& hits) { return hits = 1; }) == 1);
  }

  TEST_CASE("what one process sets, another reads") {
    const Frame frame;
    const kin::Manager manager;
    const auto names = manager.name_space();
    names["question"] = "6 * 7";
    CHECK(answer_of([names] {
            names["answer"] = 42;
            return names.get<std::string>("question");
          }) == "6 * 7");
    CHECK(names.get<int>("answer") == 42);
  }

  TEST_CASE("an attribute can't be copied, so it is never taken for a value") {
    static_assert(!std::copy_constructible<kin::managed::Attribute>);
    static_assert(!std::assignable_from<kin::managed::Attribute&, kin::managed::Attribute>);
    static_assert(std::convertible_to<kin::managed::Attribute, int>);
    static_assert(!std::convertible_to<kin::managed::Attribute&, int>);
  }
}
