// SPDX-License-Identifier: BSL-1.0

// What Event promises beyond Python's.

#include <kin/sync.hpp>

#include "frame.hpp"

#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <utility>

#include <unistd.h>

using kin::Event;
using namespace std::chrono_literals;

TEST_SUITE("event") {
  TEST_CASE("set and cleared, as often as one likes") {
    const Event event;
    CHECK_FALSE(event.is_set());
    CHECK_FALSE(event.wait_for(1ms));
    CHECK_FALSE(event.wait_for(-1s));
    for (int i = 0; i < 3; ++i) {
      event.set();
      event.set();
      CHECK(event.is_set());
      CHECK(event.wait_for(0s));
      event.wait();
      event.clear();
      event.clear();
      CHECK_FALSE(event.is_set());
      CHECK_FALSE(event.wait_for(0s));
    }
  }

  TEST_CASE("who waits goes on, also if it is cleared at once") {
    const unit::Frame frame;
    for (int i = 0; i < 20; ++i) {
      const Event event;
      unit::Relative waiter([&] { return event.wait_for(unit::patience) ? "went on" : "did not"; });
      REQUIRE(waiter.falls_asleep());
      event.set();
      event.clear();
      CHECK(waiter.answer() == "went on");
    }
  }

  TEST_CASE("all who wait go on, with a killed one among them") {
    const unit::Frame frame;
    const Event event;
    const auto wait = [&] { return event.wait_for(unit::patience) ? "went on" : "did not"; };
    unit::Relative first(wait);
    unit::Relative second(wait);
    unit::Relative third(wait);
    REQUIRE((first.falls_asleep() && second.falls_asleep() && third.falls_asleep()));
    second.end();
    event.set();
    CHECK(first.answer() == "went on");
    CHECK(third.answer() == "went on");
  }

  TEST_CASE("it travels in messages, and a moved-from one names nothing") {
    const kin::Queue<Event> queue;
    const Event event;
    queue.put(event);
    CHECK(unit::answer_of([&] {
            queue.get().set();
            return "set";
          }) == "set");
    CHECK(event.is_set());
    Event from;
    const Event to = std::move(from);
    CHECK_THROWS_AS(from.set(), std::logic_error);  // NOLINT: moved from
    CHECK_FALSE(to.is_set());
  }
}
