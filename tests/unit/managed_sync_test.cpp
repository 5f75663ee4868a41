// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>
#include <kin/serialize.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <limits>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

bool waits(const kin::Manager& manager, std::size_t parked = 1) {
  return unit::eventually([&] { return manager.statistics().parked == parked; });
}

}  // namespace

TEST_SUITE("managed sync") {
  using namespace unit;

  TEST_CASE("one holds a lock, the others wait") {
    const Frame frame;
    constexpr int threads = 4;
    constexpr int rounds = 200;
    const kin::Manager manager;
    const auto lock = manager.lock();
    const auto number = manager.make<int>(0);
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&] {
        for (int n = 0; n < rounds; ++n) {
          const std::scoped_lock guard(lock);
          const int seen = number.copy();
          number.apply([](int& it, int value) { it = value; }, seen + 1);
        }
      });
    }
    for (std::thread& thread : all) thread.join();
    CHECK(number.copy() == threads * rounds);
    CHECK_FALSE(lock.locked());
  }

  TEST_CASE("a lock may be released by another, once") {
    const Frame frame;
    const kin::Manager manager;
    const auto lock = manager.lock();
    CHECK(answer_of([lock] {
            lock.lock();
            return lock.locked() ? "locked" : "free";
          }) == "locked");
    // Whoever locked it ended with it.
    CHECK(lock.try_lock_for(60s));
    CHECK(lock.owner_died());
    CHECK_FALSE(lock.try_lock());
    CHECK_FALSE(lock.try_lock_for(1ms));
    CHECK(answer_of([lock] {
            lock.unlock();
            return "unlocked";
          }) == "unlocked");
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
    CHECK(lock.try_lock());
    CHECK_FALSE(lock.owner_died());
  }

  TEST_CASE("a recursive lock is one thread's") {
    const Frame frame;
    const kin::Manager manager;
    const auto lock = manager.rlock();
    lock.lock();
    lock.lock();
    std::string other;
    std::thread([&] {
      other = lock.try_lock() ? "locked" : "busy";
      try {
        lock.unlock();
      } catch (const std::logic_error&) {
        other += ", refused";
      }
    }).join();
    CHECK(other == "busy, refused");
    lock.unlock();
    CHECK(lock.locked());
    lock.unlock();
    CHECK_FALSE(lock.locked());
  }

  TEST_CASE("who waits for a lock of a dead process gets it") {
    const Frame frame;
    const kin::Manager manager;
    const auto lock = manager.lock();
    Relative holder([lock] {
      lock.lock();
      while (true) ::pause();
      return "";
    });
    CHECK(eventually([&] { return lock.locked(); }));
    Relative waiter([lock] {
      lock.lock();
      return lock.owner_died() ? "told" : "not told";
    });
    CHECK(waits(manager));
    holder.end();
    CHECK(waiter.answer() == "told");
  }

  // Fails, with an exception in a destructor, when unlock() tells of the death.
  TEST_CASE("a guard of a lock ends when the server has died") {
    const Frame frame;
    const kin::Manager manager;
    const auto lock = manager.lock();
    const auto condition = manager.condition();
    const auto use = [&] {
      const std::scoped_lock guard(lock);
      const std::scoped_lock other(condition);
      manager.process().kill();
      condition.wait();
    };
    CHECK_THROWS_AS(use(), kin::ManagerDied);
    CHECK_THROWS_AS(lock.lock(), kin::ManagerDied);
  }

  TEST_CASE("permits are counted, and a bounded semaphore's come back from the dead") {
    const Frame frame;
    const kin::Manager manager;
    const auto plain = manager.semaphore(2);
    const auto bounded = manager.bounded_semaphore(2);
    const auto take_and_release = [](const kin::managed::Semaphore& semaphore) {
      semaphore.acquire();
      CHECK(semaphore.try_acquire());
      CHECK_FALSE(semaphore.try_acquire());
      CHECK_FALSE(semaphore.try_acquire_for(1ms));
      semaphore.release(2);
      CHECK(semaphore.value() == 2);
    };
    take_and_release(plain);
    take_and_release(bounded);
    CHECK_THROWS_AS(bounded.release(), std::logic_error);
    plain.release();
    CHECK(plain.value() == 3);
    CHECK(answer_of([plain, bounded] {
            plain.acquire();
            bounded.acquire();
            return std::to_string(bounded.value());
          }) == "1");
    CHECK(eventually([&] { return bounded.value() == 2; }));
    CHECK(plain.value() == 2);
    CHECK_THROWS_AS(static_cast<void>(manager.semaphore(-1)), std::invalid_argument);
    constexpr int most = std::numeric_limits<int>::max();
    CHECK_THROWS_AS(plain.release(most), std::overflow_error);
    CHECK(plain.value() == 2);
    plain.release(most - 2);
    CHECK(plain.value() == most);
    CHECK_THROWS_AS(plain.release(), std::overflow_error);
  }

  TEST_CASE("an event lets go all who wait") {
    const Frame frame;
    const kin::Manager manager;
    const auto event = manager.event();
    CHECK_FALSE(event.wait_for(1ms));
    std::vector<std::thread> all;
    for (int i = 0; i < 4; ++i) all.emplace_back([&] { event.wait(); });
    CHECK(waits(manager, 4));
    event.set();
    event.clear();
    for (std::thread& thread : all) thread.join();
    CHECK_FALSE(event.is_set());
    event.set();
    CHECK(event.wait_for(0ms));
  }

  TEST_CASE("a barrier lets go all parties at once, again and again") {
    const Frame frame;
    constexpr int parties = 3;
    const kin::Manager manager;
    const auto barrier = manager.barrier(parties);
    CHECK(barrier.parties() == parties);
    for (int round = 0; round < 20; ++round) {
      std::vector<int> numbers(parties);
      std::vector<std::thread> all;
      for (int& number : numbers) all.emplace_back([&] { number = barrier.wait(); });
      for (std::thread& thread : all) thread.join();
      CHECK(std::set(numbers.begin(), numbers.end()) == std::set{0, 1, 2});
    }
    CHECK(barrier.n_waiting() == 0);
  }

  TEST_CASE("a barrier breaks when a party gives up or dies") {
    const Frame frame;
    const kin::Manager manager;
    const auto barrier = manager.barrier(3);
    const auto broken = [barrier] {
      try {
        return std::to_string(barrier.wait());
      } catch (const kin::BrokenBarrierError&) {
        return std::string("broken");
      }
    };
    {
      Relative party(broken);
      CHECK(waits(manager));
      CHECK(barrier.n_waiting() == 1);
      CHECK_THROWS_AS(barrier.wait_for(1ms), kin::BrokenBarrierError);
      CHECK(party.answer() == "broken");
    }
    CHECK(barrier.broken());
    CHECK_THROWS_AS(barrier.wait(), kin::BrokenBarrierError);
    barrier.reset();
    CHECK_FALSE(barrier.broken());
    {
      Relative party(broken);
      CHECK(waits(manager));
      Relative victim(broken);
      CHECK(waits(manager, 2));
      victim.end();
      CHECK(party.answer() == "broken");
    }
    barrier.reset();
    {
      Relative party(broken);
      CHECK(waits(manager));
      barrier.abort();
      CHECK(party.answer() == "broken");
    }
  }

  TEST_CASE("the last at a barrier has the server call the action, before anybody goes on") {
    const Frame frame;
    constexpr int parties = 3;
    const kin::Manager manager;
    const auto passes = manager.list<int>();
    const auto barrier = manager.barrier(
        parties,
        kin::partial([](const kin::managed::List<int>& all) { all.append(getpid()); }, passes));
    for (int round = 1; round <= 5; ++round) {
      std::vector<std::size_t> seen(parties);
      std::vector<std::thread> all;
      for (std::size_t& one : seen) {
        all.emplace_back([&] {
          barrier.wait();
          one = passes.size();
        });
      }
      for (std::thread& thread : all) thread.join();
      CHECK(seen == std::vector(parties, static_cast<std::size_t>(round)));
    }
    CHECK(passes.count(manager.process().pid()) == 5);
  }

  TEST_CASE("an action that throws breaks the barrier, and the last gets what it threw") {
    const Frame frame;
    const kin::Manager manager;
    const auto barrier = manager.barrier(2, [] { throw std::range_error("not today"); });
    Relative other([barrier] {
      try {
        barrier.wait();
        return "passed";
      } catch (const kin::BrokenBarrierError&) {
        return "broken";
      }
    });
    CHECK(waits(manager));
    CHECK_THROWS_WITH_AS(barrier.wait(), "not today", std::range_error);
    CHECK(other.answer() == "broken");
    CHECK(barrier.broken());
    barrier.reset();
    CHECK_FALSE(barrier.broken());
    CHECK(barrier.n_waiting() == 0);
  }

  TEST_CASE("an action may ask, break and reset its barrier, and not wait at it") {
    const Frame frame;
    const kin::Manager manager;
    using Place = kin::managed::List<kin::managed::Barrier>;
    enum class What { ask, abort, reset, wait };
    const auto act = [](const Place& place, What what) {
      const kin::managed::Barrier own = place.get(0);
      switch (what) {
        case What::ask:
          if (own.n_waiting() != 1) throw std::range_error("somebody is missing");
          break;
        case What::abort: own.abort(); break;
        case What::reset: own.reset(); break;
        case What::wait: own.wait(); break;
      }
    };
    const auto make = [&](What what) {
      const auto place = manager.list<kin::managed::Barrier>();
      const auto barrier = manager.barrier(1, kin::partial(act, place, what));
      place.append(barrier);
      return std::pair(barrier, place);
    };
    const auto [asked, asked_place] = make(What::ask);
    CHECK(asked.wait() == 0);
    CHECK(asked.wait() == 0);
    const auto [aborted, aborted_place] = make(What::abort);
    CHECK_THROWS_AS(aborted.wait(), kin::BrokenBarrierError);
    CHECK(aborted.broken());
    const auto [reset, reset_place] = make(What::reset);
    CHECK_THROWS_AS(reset.wait(), kin::BrokenBarrierError);
    CHECK_FALSE(reset.broken());
    const auto [waited, waited_place] = make(What::wait);
    CHECK_THROWS_AS(waited.wait(), std::logic_error);
    CHECK(waited.broken());
    // Rings: what they name would live until the manager ends.
    for (const auto& place : {asked_place, aborted_place, reset_place, waited_place}) {
      place.clear();
    }
  }

  TEST_CASE("a condition wakes who waits, with the lock") {
    const Frame frame;
    const kin::Manager manager;
    const auto condition = manager.condition();
    const auto number = manager.make<int>(0);
    CHECK_THROWS_AS(condition.wait(), std::logic_error);
    condition.lock();
    condition.lock();
    CHECK_FALSE(condition.wait_for(1ms));
    condition.unlock();
    Relative waiter([&] {
      condition.lock();
      condition.wait([&] { return number.copy() == 1; });
      condition.unlock();
      return "seen";
    });
    condition.unlock();
    CHECK(waits(manager));
    {
      const std::scoped_lock guard(condition);
      number.apply([](int& it) { it = 1; });
      condition.notify_one();
    }
    CHECK(waiter.answer() == "seen");
  }

  TEST_CASE("who dies with a condition's lock passes on what it was notified of") {
    const Frame frame;
    const kin::Manager manager;
    const auto condition = manager.condition();
    Relative victim([condition] {
      condition.lock();
      condition.wait();
      while (true) ::pause();
      return "";
    });
    CHECK(waits(manager));
    Relative other([condition] {
      condition.lock();
      condition.wait();
      const bool was_told = condition.try_lock();
      condition.unlock();
      condition.unlock();
      return was_told ? "woken, with the lock" : "woken";
    });
    CHECK(waits(manager, 2));
    condition.notify_one();
    CHECK(waits(manager, 1));
    CHECK_FALSE(condition.try_lock());
    victim.end();
    CHECK(other.answer() == "woken, with the lock");
    CHECK(condition.try_lock());
    condition.unlock();
  }

  TEST_CASE("two conditions share a lock, and each notifies its own") {
    const Frame frame;
    const kin::Manager manager;
    const auto lock = manager.lock();
    const auto first = manager.condition(lock);
    const auto second = manager.condition(lock);
    const auto wait_for = [](const kin::managed::Condition& condition) {
      condition.lock();
      condition.wait();
      condition.unlock();
      return "woken";
    };
    Relative one([&] { return wait_for(first); });
    CHECK(waits(manager));
    Relative two([&] { return wait_for(second); });
    CHECK(waits(manager, 2));
    lock.lock();
    second.notify_one();
    // It waits for the lock now.
    CHECK(manager.statistics().parked == 2);
    lock.unlock();
    CHECK(two.answer() == "woken");
    CHECK(manager.statistics().parked == 1);
    first.notify_one();
    CHECK(one.answer() == "woken");
  }

  TEST_CASE("the time of a wait is up, or not, before the notification") {
    const Frame frame;
    const kin::Manager manager;
    const auto condition = manager.condition();
    condition.lock();
    Relative waiter([condition] {
      condition.lock();
      const bool was_notified = condition.wait_for(50ms);
      condition.unlock();
      return was_notified ? "notified" : "late";
    });
    condition.unlock();
    CHECK(waits(manager));
    condition.lock();
    const kin::ManagerStatistics before = manager.statistics();
    condition.notify_one();
    const kin::ManagerStatistics after = manager.statistics();
    // One whose time was up would not be parked, or have called meanwhile.
    const bool is_in_time = after.parked == 1 && after.calls == before.calls + 2;
    const auto until = std::chrono::steady_clock::now() + 60ms;
    CHECK(eventually([&] { return std::chrono::steady_clock::now() > until; }));
    // Not before it has the lock, though its time is up.
    condition.unlock();
    const std::string answer = waiter.answer();
    CHECK((answer == "notified" || !is_in_time));
  }

  TEST_CASE("a notification that a dead process had is another's") {
    const Frame frame;
    const kin::Manager manager;
    const auto condition = manager.condition();
    const auto wait = [condition] {
      condition.lock();
      condition.wait();
      condition.unlock();
      return "woken";
    };
    Relative victim(wait);
    CHECK(waits(manager));
    Relative other(wait);
    CHECK(waits(manager, 2));
    victim.end();
    condition.notify_one();
    CHECK(eventually([&] {
      // Until its death was seen, the first was still in line.
      return manager.statistics().parked == 0;
    }));
    CHECK(other.answer() == "woken");
  }
}
