// SPDX-License-Identifier: BSL-1.0
//
// Condition, against CPython's _TestCondition. Its lock stands beside it here.
//
// Fails when:
//   notify() lets go all: test_notify, test_notify_n
//   notify_all() lets go one: test_notify_all
//   wait_until() is always true: test_notify, test_notify_all, test_notify_n, test_timeout

#include "trial.hpp"

#include <mutex>

using namespace trial;

namespace {

// A condition, its lock, and who waits for it.
class Meeting {
 public:
  kin::Lock lock;
  kin::Condition changed;

  // Lets so many wait, of whom half are processes and half threads, or all threads.
  void gather(Kind kind, int count, std::chrono::nanoseconds limit = patience) {
    const auto wait = [=, lock = lock, changed = changed, sleeping = sleeping_,
                       notified = notified_, timed_out = timed_out_] {
      const std::scoped_lock guard(lock);
      sleeping.release();
      const bool told = changed.wait_for(lock, limit);
      expect(lock.locked());
      (told ? notified : timed_out).release();
    };
    // Processes first: so none is forked in the midst of these threads.
    for (int i = 0; i < count; ++i) {
      waiters_.emplace_back(i < count / 2 ? kind : Kind::thread, wait);
    }
    for (int i = 0; i < count; ++i) REQUIRE(sleeping_.try_acquire_for(patience));
    // Each let go of the lock by waiting.
    const std::scoped_lock guard(lock);
  }
  // Whether so many are notified, and no more.
  [[nodiscard]] bool exactly(int count) const { return count_of(notified_, count); }
  [[nodiscard]] bool exactly_time_out(int count) const { return count_of(timed_out_, count); }

  // Whether all have ended, nobody is left in the condition, and none too many was woken.
  [[nodiscard]] bool all_end_well() {
    bool well = true;
    for (Companion& waiter : waiters_) well = waiter.ends_well() && well;
    waiters_.clear();
    const std::scoped_lock guard(lock);
    changed.notify_all();
    return well && !changed.wait_for(lock, 1ms) && notified_.value() == 0 &&
           timed_out_.value() == 0 && sleeping_.value() == 0;
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

void notify(const Meeting& meeting, int count) {
  const std::scoped_lock guard(meeting.lock);
  meeting.changed.notify(count);
}

}  // namespace

TEST_SUITE("condition") {
  TEST_CASE_FIXTURE(Trial, "test_notify") {
    Meeting meeting;
    meeting.gather(each_kind(), 2);
    CHECK(meeting.exactly(0));
    for (int i = 0; i < 2; ++i) {
      {
        const std::scoped_lock guard(meeting.lock);
        meeting.changed.notify_one();
      }
      CHECK(meeting.exactly(1));
    }
    CHECK(meeting.all_end_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_notify_all") {
    const Kind kind = each_kind();
    Meeting meeting;
    meeting.gather(kind, 6, 50ms);
    CHECK(meeting.exactly_time_out(6));
    CHECK(meeting.all_end_well());

    meeting.gather(kind, 6);
    CHECK(meeting.exactly(0));
    {
      const std::scoped_lock guard(meeting.lock);
      meeting.changed.notify_all();
    }
    CHECK(meeting.exactly(6));
    CHECK(meeting.all_end_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_notify_n") {
    Meeting meeting;
    meeting.gather(each_kind(), 6);
    CHECK(meeting.exactly(0));
    notify(meeting, 2);
    CHECK(meeting.exactly(2));
    notify(meeting, 4);
    CHECK(meeting.exactly(4));
    notify(meeting, 3);
    CHECK(meeting.exactly(0));
    CHECK(meeting.all_end_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_timeout") {
    const Kind kind = each_kind();
    const kin::Lock lock;
    const kin::Condition condition;
    const auto wait = [=] {
      const std::scoped_lock guard(lock);
      const auto start = std::chrono::steady_clock::now();
      expect(!condition.wait_for(lock, 50ms));
      expect(std::chrono::steady_clock::now() - start >= 50ms);
      expect(!condition.wait_for(lock, 0s));
      expect(!condition.wait_for(lock, -1s));
    };
    wait();
    CHECK(Companion(kind, wait).ends_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_waitfor") {
    const Kind kind = each_kind();
    const kin::Lock lock;
    const kin::Condition changed;
    const kin::RawValue<int> state(-1);
    Companion counter(kind, [=] {
      const std::scoped_lock guard(lock);
      state.get() = 0;
      changed.notify_one();
      expect(changed.wait_for(lock, patience, [&] { return state.get() == 4; }));
      expect(state.get() == 4);
    });
    {
      const std::scoped_lock guard(lock);
      CHECK(changed.wait_for(lock, patience, [&] { return state.get() == 0; }));
      CHECK(state.get() == 0);
    }
    for (int i = 0; i < 4; ++i) {
      const std::scoped_lock guard(lock);
      ++state.get();
      changed.notify_one();
    }
    CHECK(counter.ends_well());
  }

  // Notifications don't count; what is waited for does.
  TEST_CASE_FIXTURE(Trial, "test_waitfor_timeout") {
    const Kind kind = each_kind();
    const kin::Lock lock;
    const kin::Condition changed;
    const kin::RawValue<int> state(0);
    const kin::Event waits;
    Companion waiter(kind, [=] {
      const std::scoped_lock guard(lock);
      waits.set();
      const auto start = std::chrono::steady_clock::now();
      expect(!changed.wait_for(lock, 100ms, [&] { return state.get() == 4; }));
      expect(std::chrono::steady_clock::now() - start >= 100ms);
    });
    CHECK(waits.wait_for(patience));
    for (int i = 0; i < 3; ++i) {
      const std::scoped_lock guard(lock);
      ++state.get();
      changed.notify_one();
    }
    CHECK(waiter.ends_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_wait_result") {
    const Kind kind = each_kind();
    const kin::Lock lock;
    const kin::Condition condition;
    const std::scoped_lock guard(lock);
    CHECK_FALSE(condition.wait_for(lock, 0s));
    CHECK_FALSE(condition.wait_for(lock, 10ms));
    Companion notifier(kind, [=] {
      const std::scoped_lock theirs(lock);
      condition.notify_one();
    });
    CHECK(condition.wait_for(lock, patience));
    CHECK(notifier.ends_well());
  }
}
