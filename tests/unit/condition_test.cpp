// SPDX-License-Identifier: BSL-1.0

// What Condition promises beyond Python's: whom a notification wakes, and what becomes of the dead's.

#include <kin/sync.hpp>

#include "frame.hpp"
#include "support/sanitizer.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

using kin::Condition;
using kin::Lock;
using kin::RLock;
using namespace std::chrono_literals;

namespace {

struct Meeting {
  Lock lock;
  Condition changed;

  // A process that waits, and falls asleep in it.
  void add_waiter(std::deque<unit::Relative>& waiters) const {
    waiters.emplace_back([this] {
      const std::scoped_lock guard(lock);
      return changed.wait_for(lock, unit::patience) ? "notified" : "time is up";
    });
    REQUIRE(waiters.back().falls_asleep());
    // Asleep for the lock would do as well; who has it knows that nobody sleeps for it.
    const std::scoped_lock guard(lock);
  }
};

bool runs(const unit::Relative& waiter) { return ::kill(waiter.pid(), 0) == 0; }

// In a process that ends soon: malloc() has nothing left.
void take_all_memory() {
  const rlimit nothing{0, 0};
  ::setrlimit(RLIMIT_AS, &nothing);
  for (std::size_t size = std::size_t{1} << 30; size != 0; size /= 2) {
    while (::operator new(size, std::nothrow) != nullptr) {
    }
  }
  for (std::size_t size = 1024; size != 0; size -= 8) {
    while (::operator new(size, std::nothrow) != nullptr) {
    }
  }
}

}  // namespace

TEST_SUITE("condition") {
  TEST_CASE("the lock is free while one waits, and held again afterwards") {
    const Meeting meeting;
    const std::scoped_lock guard(meeting.lock);
    std::deque<unit::Relative> others;
    others.emplace_back([&] {
      const std::scoped_lock theirs(meeting.lock);
      meeting.changed.notify_one();
      return "had it";
    });
    CHECK(meeting.changed.wait_for(meeting.lock, unit::patience));
    CHECK(meeting.lock.owner()->pid == ::getpid());
    CHECK_FALSE(meeting.changed.wait_for(meeting.lock, 1ms));
    CHECK(meeting.lock.owner()->pid == ::getpid());
    CHECK(others.front().answer() == "had it");
  }

  TEST_CASE("an RLock is held as often as before") {
    const unit::Frame frame;
    const RLock lock;
    const Condition changed;
    const std::scoped_lock outer(lock);
    const std::scoped_lock inner(lock);
    CHECK(lock.depth() == 2);
    unit::Relative other([&] {
      const std::scoped_lock theirs(lock);
      changed.notify_all();
      return "had it";
    });
    CHECK(changed.wait_for(lock, unit::patience));
    CHECK(lock.depth() == 2);
    CHECK(other.answer() == "had it");
  }

  TEST_CASE("with the guards of the standard library, and with a predicate") {
    const Meeting meeting;
    std::unique_lock guard(meeting.lock);
    int looks = 0;
    meeting.changed.wait(guard, [&] { return ++looks == 1; });
    CHECK(looks == 1);
    CHECK_FALSE(meeting.changed.wait_for(guard, 1ms));
    CHECK_FALSE(meeting.changed.wait_for(guard, 1ms, [] { return false; }));
    CHECK(meeting.changed.wait_for(guard, 0s, [] { return true; }));
    Lock other;
    std::unique_lock<Lock> also(other);
    CHECK_FALSE(meeting.changed.wait_for(also, 1ms));
    guard.unlock();
    CHECK_THROWS_AS(meeting.changed.wait(guard), std::logic_error);
    CHECK_THROWS_AS(meeting.changed.wait(meeting.lock), std::logic_error);
    CHECK_THROWS_AS(meeting.changed.notify(-1), std::invalid_argument);
    meeting.changed.notify(0);
  }

  TEST_CASE("who has waited longest is woken first, and nobody else") {
    const unit::Frame frame;
    const Meeting meeting;
    std::deque<unit::Relative> waiters;
    for (int i = 0; i < 30; ++i) meeting.add_waiter(waiters);
    meeting.changed.notify_one();
    CHECK(waiters[0].answer() == "notified");
    meeting.changed.notify(3);
    for (std::size_t i = 1; i < 4; ++i) CHECK(waiters[i].answer() == "notified");
    for (std::size_t i = 4; i < 30; ++i) CHECK(runs(waiters[i]));
    meeting.changed.notify(26);
    for (std::size_t i = 4; i < 30; ++i) CHECK(waiters[i].answer() == "notified");
  }

  TEST_CASE("a notification is for those who wait, not for who comes later") {
    const Meeting meeting;
    const std::scoped_lock guard(meeting.lock);
    meeting.changed.notify_one();
    meeting.changed.notify(5);
    meeting.changed.notify_all();
    CHECK_FALSE(meeting.changed.wait_for(meeting.lock, 1ms));
  }

  TEST_CASE("a wait with a lock that is not held takes no notification with it") {
    const Meeting meeting;
    Lock moved_from;
    const Lock not_held(std::move(moved_from));
    // NOLINTNEXTLINE(bugprone-use-after-move): that is what somebody does
    for (const Lock* lock : {&not_held, &std::as_const(moved_from)}) {
      CHECK_THROWS_AS(static_cast<void>(meeting.changed.wait_for(*lock, 0s)), std::logic_error);
    }
    std::deque<unit::Relative> waiters;
    meeting.add_waiter(waiters);
    meeting.changed.notify_one();
    CHECK(waiters.front().answer() == "notified");
  }

  TEST_CASE("one whose time is up takes no notification with it") {
    const unit::Frame frame;
    const Meeting meeting;
    const auto give_up = [&] {
      const std::scoped_lock guard(meeting.lock);
      CHECK_FALSE(meeting.changed.wait_for(meeting.lock, 1ms));
    };
    give_up();
    std::deque<unit::Relative> waiters;
    meeting.add_waiter(waiters);
    give_up();
    give_up();
    meeting.add_waiter(waiters);
    give_up();
    meeting.changed.notify_one();
    CHECK(waiters[0].answer() == "notified");
    CHECK(runs(waiters[1]));
    meeting.changed.notify_one();
    CHECK(waiters[1].answer() == "notified");
    meeting.add_waiter(waiters);
    meeting.add_waiter(waiters);
    meeting.changed.notify_one();
    CHECK(waiters[2].answer() == "notified");
    meeting.changed.notify_one();
    CHECK(waiters[3].answer() == "notified");
  }

  TEST_CASE("a killed waiter's notification goes to the next") {
    const unit::Frame frame;
    const Meeting meeting;
    for (int i = 0; i < 3; ++i) {
      std::deque<unit::Relative> waiters;
      for (int j = 0; j < 4; ++j) meeting.add_waiter(waiters);
      waiters[0].end();
      waiters[1].end();
      meeting.changed.notify_one();
      CHECK(waiters[2].answer() == "notified");
      CHECK(runs(waiters[3]));
      meeting.changed.notify_one();
      CHECK(waiters[3].answer() == "notified");
    }
  }

  TEST_CASE("a waiter that was notified and killed before it had the lock passes it on") {
    const unit::Frame frame;
    const Meeting meeting;
    std::deque<unit::Relative> waiters;
    for (int j = 0; j < 2; ++j) meeting.add_waiter(waiters);
    {
      const std::scoped_lock guard(meeting.lock);
      meeting.changed.notify_one();
      // It is awake, or will be, and waits for the lock.
      waiters[0].end();
    }
    CHECK(waiters[1].answer() == "notified");
  }

  TEST_CASE("a notification of the dead is passed on where there is no memory") {
    if (support::is_sanitized) {
      std::puts("skipped: a sanitizer's allocator ends the process");
      return;
    }
    const unit::Frame frame;
    const Meeting meeting;
    std::deque<unit::Relative> waiters;
    meeting.add_waiter(waiters);
    waiters.emplace_back([&]() -> std::string {
      const std::scoped_lock guard(meeting.lock);
      take_all_memory();
      return meeting.changed.wait_for(meeting.lock, unit::patience) ? "notified" : "time is up";
    });
    REQUIRE(waiters.back().falls_asleep());
    {
      const std::scoped_lock guard(meeting.lock);
      meeting.changed.notify_one();
      waiters[0].end();
    }
    CHECK(waiters[1].answer() == "notified");
  }

  TEST_CASE("a waiter is told of the death of who held the lock") {
    const unit::Frame frame;
    kin::set_log_level(kin::LogLevel::off);
    const Meeting meeting;
    unit::Relative waiter([&] {
      const std::scoped_lock guard(meeting.lock);
      const bool woken = meeting.changed.wait_for(meeting.lock, unit::patience);
      return woken && meeting.lock.owner_died() ? "told" : "not told";
    });
    REQUIRE(waiter.falls_asleep());
    unit::Relative holder([&] {
      meeting.lock.lock();
      ::pause();
      return "";
    });
    REQUIRE(unit::eventually([&] { return meeting.lock.locked(); }));
    holder.end();
    CHECK(waiter.answer() == "told");
    kin::set_log_level(kin::LogLevel::warning);
  }

  TEST_CASE("it travels in messages") {
    const unit::Frame frame;
    const kin::Queue<std::pair<Lock, Condition>> queue;
    const Meeting meeting;
    queue.put({meeting.lock, meeting.changed});
    unit::Relative waiter([&] {
      const auto [lock, changed] = queue.get();
      const std::scoped_lock guard(lock);
      return changed.wait_for(lock, unit::patience) ? "notified" : "time is up";
    });
    REQUIRE(waiter.falls_asleep());
    meeting.changed.notify_all();
    CHECK(waiter.answer() == "notified");
  }
}
