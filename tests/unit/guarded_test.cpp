// SPDX-License-Identifier: BSL-1.0

#include "base/guarded.hpp"

#include "frame.hpp"

#include <vector>

using kin::detail::Guarded;

TEST_SUITE("guarded") {
  TEST_CASE("what the function returns comes back, and what it throws") {
    static Guarded<std::string> text(std::string("one"));
    CHECK(text.with([](std::string& value) { return value += " two"; }) == "one two");
    CHECK_THROWS_AS(text.with([](std::string&) { throw 1; }), int);
    CHECK(text.with([](const std::string& value) { return value.size(); }) == 7);  // free again
  }

  TEST_CASE("one thread at a time sees the data") {
    static Guarded<int> number(0);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int turn = 0; turn < 1000; ++turn) number.with([](int& value) { ++value; });
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(number.with([](int value) { return value; }) == 4000);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child finds the data whole, forked in the midst of changes") {
    static Guarded<std::pair<int, int>> twins;
    std::atomic<bool> enough = false;
    std::thread changes([&] {
      while (!enough) {
        twins.with([](auto& both) {
          ++both.first;
          std::this_thread::yield();
          ++both.second;
        });
      }
    });
    for (int i = 0; i < 20; ++i) {
      CHECK(unit::answer_of([] {
              return twins.with([](auto& both) { return both.first == both.second; }) ? "whole"
                                                                                      : "torn";
            }) == "whole");
    }
    enough = true;
    changes.join();
  }
}
