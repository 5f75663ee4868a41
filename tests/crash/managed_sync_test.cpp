// SPDX-License-Identifier: BSL-1.0

// A client is killed at every instruction while it holds, or waits for, what is for meeting in a manager's
// server: what it had is free, and what it was notified of is another's.

#include "crash/household.hpp"
#include "support/shared_page.hpp"

#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

using crash::Household;
using crash::Moment;
using crash::require;
using namespace std::chrono_literals;

namespace {

const std::string free_again = "it is free";
const std::string got_it = "the other got it";
const std::string was_taken = "the killed one had taken it";

/// One item, that is put and taken under the lock of a condition; in one word, so that a death leaves no doubt.
enum class Item { none, is_there, taken, taken_by_sleeper };

struct Meeting : Household {
  struct Shared {
    std::atomic<Item> item;
    std::atomic<int> waits;  // of the sleeper
  };
  kin::managed::Condition condition = manager.condition();
  crash::SharedPage<Shared> shared = {};

  void prepare() const {
    Household::prepare();
    static_cast<void>(manager.statistics());
    shared->item = Item::none;
    shared->waits = 0;
  }
  void put() const {
    const std::scoped_lock guard(condition);
    shared->item = Item::is_there;
    condition.notify_one();
  }
  void take() const {
    const std::scoped_lock guard(condition);
    condition.wait([&] { return shared->item == Item::is_there; });
    shared->item = Item::taken;
  }
  /// For a sleeper, which comes first: it waits twice, so that it is behind the one that is killed.
  [[nodiscard]] std::string take_as_second() const {
    const std::scoped_lock guard(condition);
    const auto wait_once = [&] {
      ++shared->waits;
      require(condition.wait_for(5s), "nobody notified");
    };
    wait_once();
    while (shared->item != Item::is_there) wait_once();
    shared->item = Item::taken_by_sleeper;
    return got_it;
  }
  void wait_until_sleeper_waits(int times) const {
    while (true) {
      const std::scoped_lock guard(condition);
      if (shared->waits == times) return;
    }
  }
  /// The sleeper gets the item, or another one.
  [[nodiscard]] std::string outcome(const Moment& moment) const {
    const Item item = shared->item;
    // Buries the killed one now, and not in a slice.
    static_cast<void>(manager.statistics());
    if (item == Item::none || item == Item::taken) put();
    require(moment.sleeper_answer() == got_it, "the other got nothing");
    require_to_work();
    require(manager.statistics().parked == 0, "a call is parked");
    return item == Item::taken ? was_taken : got_it;
  }
  void require_to_work() const {
    require(condition.try_lock(), "the lock can't be taken");
    require(!condition.wait_for(0s), "notified by nobody");
    condition.notify_one();
    condition.notify_all();
    require(!condition.wait_for(1ms), "an old notification was kept");
    condition.unlock();
    require(condition.try_lock(), "the lock was locked more than once");
    condition.unlock();
  }
};

}  // namespace

TEST_SUITE("managed sync") {
  TEST_CASE("a lock") {
    const Household house;
    const auto lock = house.manager.lock();
    crash::Scenario scenario{
        .name = "lock and unlock of a manager's lock",
        .prepare = [&] { house.prepare(); },
        .operation =
            [&] {
              lock.lock();
              lock.unlock();
            },
        .check =
            [&](const Moment&) {
              house.require_settled();
              require(lock.try_lock(), "nobody can have the lock");
              lock.unlock();
              return free_again;
            },
        .expected = {free_again},
        .budget = 3s,
    };
    crash::prove_behind_first_call(house, scenario);
  }

  TEST_CASE("permits") {
    const Household house;
    const auto plain = house.manager.semaphore(1);
    const auto bounded = house.manager.bounded_semaphore(1);
    const std::string kept = "it stays taken";
    crash::Scenario scenario{
        .name = "acquire of a manager's semaphores",
        .prepare =
            [&] {
              house.prepare();
              if (plain.value() == 0) plain.release();
            },
        .operation =
            [&] {
              bounded.acquire();
              plain.acquire();
            },
        .check =
            [&](const Moment& moment) {
              house.require_settled();
              require(bounded.value() == 1, "a dead process's permit is not free");
              require(plain.value() == 1 || plain.value() == 0, "there are more permits");
              require(plain.value() == 0 || !moment.completed, "a permit that was had is back");
              return plain.value() == 1 ? free_again : kept;
            },
        .expected = {free_again, kept},
        .budget = 3s,
    };
    crash::prove_behind_first_call(house, scenario);
  }

  TEST_CASE("who waits on a condition is notified and killed: the next is notified") {
    const Meeting meeting;
    crash::prove({
        .name = "wait on a manager's condition that is notified, before another who waits",
        .prepare = [&] { meeting.prepare(); },
        .operation = [&] { meeting.take(); },
        .check = [&](const Moment& moment) { return meeting.outcome(moment); },
        .expected = {got_it, was_taken},
        .sleeper = [&] { return meeting.take_as_second(); },
        .waker =
            [&] {
              // The sleeper came first, and goes to the end of the line.
              meeting.condition.notify_one();
              meeting.wait_until_sleeper_waits(2);
              meeting.put();
            },
        .budget = 4s,
    });
  }
}
