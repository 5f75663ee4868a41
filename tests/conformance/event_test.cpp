// SPDX-License-Identifier: BSL-1.0
//
// Event, against CPython's _TestEvent. What repr() shows there is is_set() here.
//
// Fails when:
//   set() sets no bit: test_event
//   clear() clears none: test_event, test_repr

#include "trial.hpp"

using namespace trial;

TEST_SUITE("event") {
  TEST_CASE_FIXTURE(Trial, "test_event") {
    const Kind kind = each_kind();
    const kin::Event event;
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
  TEST_CASE_FIXTURE(Trial, "test_event_of_several") {
    const Kind kind = each_kind();
    const kin::Event event;
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

  TEST_CASE_FIXTURE(Trial, "test_repr") {
    const Kind kind = each_kind();
    const kin::Event event;
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
