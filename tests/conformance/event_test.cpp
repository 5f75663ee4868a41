// SPDX-License-Identifier: BSL-1.0
//
// Event, against CPython's _TestEvent, and the manager's. What repr() shows there is is_set() here.
//
// Fails when:
//   set() sets no bit: test_event
//   clear() clears none: test_event, test_repr
//   EventStore::clear() does nothing: test_event, test_repr of the manager

#include "makers.hpp"

using namespace trial;

TEST_SUITE("event") {
  TEST_CASE_TEMPLATE("test_event", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto event = maker.event();
    CHECK_FALSE(event.is_set());

    CHECK_FALSE(event.wait_for(0s));
    const auto start = std::chrono::steady_clock::now();
    CHECK_FALSE(event.wait_for(50ms));
    CHECK(std::chrono::steady_clock::now() - start >= 50ms);

    event.set();
    CHECK(event.is_set());
    CHECK(event.wait_for(0s));
    CHECK(event.wait_for(patience));
    event.wait();

    event.clear();
    CHECK_FALSE(event.is_set());
    CHECK_FALSE(event.wait_for(0s));

    Companion other(kind, [event] { event.set(); });
    CHECK(event.wait_for(patience));
    CHECK(other.ends_well());
    CHECK(event.is_set());
  }

  // One for all who wait.
  TEST_CASE_TEMPLATE("test_event_of_several", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto event = maker.event();
    const kin::Semaphore here(0);
    std::vector<Companion> waiters;
    for (int i = 0; i < 4; ++i) {
      waiters.emplace_back(kind, [=] {
        here.release();
        expect(event.wait_for(patience));
      });
    }
    for (int i = 0; i < 4; ++i) CHECK(here.try_acquire_for(patience));
    event.set();
    for (Companion& waiter : waiters) CHECK(waiter.ends_well());
  }

  TEST_CASE_TEMPLATE("test_repr", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto event = maker.event();
    for (const bool set : {true, false}) {
      if (set) {
        event.set();
      } else {
        event.clear();
      }
      CHECK(event.is_set() == set);
      CHECK(Companion(kind, [=] { expect(event.is_set() == set); }).ends_well());
    }
  }
}
