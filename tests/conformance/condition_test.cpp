// SPDX-License-Identifier: BSL-1.0
//
// Condition, against CPython's _TestCondition, and the manager's. Its lock stands beside it in kin, which
// LockedCondition makes one again.
//
// Fails when:
//   notify() lets go all: test_notify, test_notify_n
//   notify_all() lets go one: test_notify_all
//   wait_until() is always true: test_notify, test_notify_all, test_notify_n, test_timeout
//   ConditionStore::notify() lets go one more, which is none of all: test_notify, test_notify_all of the
//     manager

#include "makers.hpp"

#include <mutex>

using namespace trial;

namespace {

// A condition, and who waits for it.
template <typename Condition>
class Meeting {
 public:
  explicit Meeting(Condition condition) : changed(std::move(condition)) {}

  Condition changed;

  // Lets so many wait, of whom half are processes and half threads, or all threads.
  void gather(Kind kind, int count, std::chrono::nanoseconds limit = patience) {
    const auto wait = [=, changed = changed, sleeping = sleeping_, notified = notified_,
                       timed_out = timed_out_] {
      const std::scoped_lock guard(changed);
      sleeping.release();
      const bool told = changed.wait_for(limit);
      // It is held again, so it can be let go of.
      changed.unlock();
      changed.lock();
      (told ? notified : timed_out).release();
    };
    // Processes first: so none is forked in the midst of these threads.
    for (int i = 0; i < count; ++i) {
      waiters_.emplace_back(i < count / 2 ? kind : Kind::thread, wait);
    }
    for (int i = 0; i < count; ++i) REQUIRE(sleeping_.try_acquire_for(patience));
    // Each let go of the lock by waiting.
    const std::scoped_lock guard(changed);
  }
  // Whether so many are notified, and no more.
  [[nodiscard]] bool exactly(int count) const { return count_of(notified_, count); }
  [[nodiscard]] bool exactly_time_out(int count) const { return count_of(timed_out_, count); }

  // Whether all have ended, nobody is left in the condition, and none too many was woken.
  [[nodiscard]] bool all_end_well() {
    bool well = true;
    for (Companion& waiter : waiters_) well = waiter.ends_well() && well;
    waiters_.clear();
    const std::scoped_lock guard(changed);
    changed.notify_all();
    return well && !changed.wait_for(1ms) && notified_.value() == 0 && timed_out_.value() == 0 &&
           sleeping_.value() == 0;
  }

 private:
  // Who is woken although it should not be comes within that time, or is seen by all_end_well().
  static bool count_of(const kin::Semaphore& semaphore, int count) {
    for (int i = 0; i < count; ++i) {
      if (!semaphore.try_acquire_for(patience)) return false;
    }
    return !semaphore.try_acquire_for(50ms);
  }

  kin::Semaphore sleeping_{0};
  kin::Semaphore notified_{0};
  kin::Semaphore timed_out_{0};
  std::vector<Companion> waiters_;
};

template <typename Condition>
void notify(const Meeting<Condition>& meeting, int count) {
  const std::scoped_lock guard(meeting.changed);
  meeting.changed.notify(count);
}

}  // namespace

TEST_SUITE("condition") {
  TEST_CASE_TEMPLATE("test_notify", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    Meeting meeting(maker.condition());
    meeting.gather(kind, 2);
    CHECK(meeting.exactly(0));
    for (int i = 0; i < 2; ++i) {
      {
        const std::scoped_lock guard(meeting.changed);
        meeting.changed.notify_one();
      }
      CHECK(meeting.exactly(1));
    }
    CHECK(meeting.all_end_well());
  }

  TEST_CASE_TEMPLATE("test_notify_all", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    Meeting meeting(maker.condition());
    meeting.gather(kind, 6, 50ms);
    CHECK(meeting.exactly_time_out(6));
    CHECK(meeting.all_end_well());

    meeting.gather(kind, 6);
    CHECK(meeting.exactly(0));
    {
      const std::scoped_lock guard(meeting.changed);
      meeting.changed.notify_all();
    }
    CHECK(meeting.exactly(6));
    CHECK(meeting.all_end_well());
  }

  TEST_CASE_TEMPLATE("test_notify_n", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    Meeting meeting(maker.condition());
    meeting.gather(kind, 6);
    CHECK(meeting.exactly(0));
    notify(meeting, 2);
    CHECK(meeting.exactly(2));
    notify(meeting, 4);
    CHECK(meeting.exactly(4));
    notify(meeting, 3);
    CHECK(meeting.exactly(0));
    CHECK(meeting.all_end_well());
  }

  TEST_CASE_TEMPLATE("test_timeout", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto wait = [condition = maker.condition()] {
      const std::scoped_lock guard(condition);
      const auto start = std::chrono::steady_clock::now();
      expect(!condition.wait_for(50ms));
      expect(std::chrono::steady_clock::now() - start >= 50ms);
      expect(!condition.wait_for(0s));
      expect(!condition.wait_for(-1s));
    };
    wait();
    CHECK(Companion(kind, wait).ends_well());
  }

  TEST_CASE_TEMPLATE("test_waitfor", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto changed = maker.condition();
    const kin::Value<int> state(-1);
    Companion counter(kind, [=] {
      const std::scoped_lock guard(changed);
      state.store(0);
      changed.notify_one();
      expect(changed.wait_for(patience, [&] { return state.load() == 4; }));
      expect(state.load() == 4);
    });
    {
      const std::scoped_lock guard(changed);
      CHECK(changed.wait_for(patience, [&] { return state.load() == 0; }));
      CHECK(state.load() == 0);
    }
    for (int i = 0; i < 4; ++i) {
      const std::scoped_lock guard(changed);
      state.fetch_add(1);
      changed.notify_one();
    }
    CHECK(counter.ends_well());
  }

  // Notifications don't count; what is waited for does.
  TEST_CASE_TEMPLATE("test_waitfor_timeout", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto changed = maker.condition();
    const kin::Value<int> state(0);
    const kin::Event waits;
    Companion waiter(kind, [=] {
      const std::scoped_lock guard(changed);
      waits.set();
      const auto start = std::chrono::steady_clock::now();
      expect(!changed.wait_for(100ms, [&] { return state.load() == 4; }));
      expect(std::chrono::steady_clock::now() - start >= 100ms);
    });
    CHECK(waits.wait_for(patience));
    for (int i = 0; i < 3; ++i) {
      const std::scoped_lock guard(changed);
      state.fetch_add(1);
      changed.notify_one();
    }
    CHECK(waiter.ends_well());
  }

  TEST_CASE_TEMPLATE("test_wait_result", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto condition = maker.condition();
    const std::scoped_lock guard(condition);
    CHECK_FALSE(condition.wait_for(0s));
    CHECK_FALSE(condition.wait_for(10ms));
    Companion notifier(kind, [=] {
      const std::scoped_lock theirs(condition);
      condition.notify_one();
    });
    CHECK(condition.wait_for(patience));
    CHECK(notifier.ends_well());
  }
}
