// SPDX-License-Identifier: BSL-1.0

// Whoever waits on a condition, or notifies, is killed or stopped at every instruction: no notification is
// lost with it, the lock is free or tells of the death, and the condition works on.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <sys/types.h>
#include <unistd.h>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string got_it = "the waiter got it";
const std::string was_taken = "the killed one had taken it";

/// One item, that is put and taken under the lock; in one word, so that a death leaves no doubt.
enum class Item { none, is_there, taken, taken_by_sleeper };

struct Fresh {
  struct Shared {
    std::atomic<Item> item;
    std::atomic<int> waits;  // of the sleeper
  };
  std::optional<kin::Lock> lock = std::nullopt;
  std::optional<kin::Condition> changed = std::nullopt;
  crash::SharedPage<Shared> shared = {};

  void prepare() {
    sweep_the_dead();
    kin::set_log_level(kin::LogLevel::off);  // it has a warning in every second round
    shared->item = Item::none;
    shared->waits = 0;
    lock.emplace();
    changed.emplace();
  }

  void put() const {
    const std::scoped_lock guard(*lock);
    shared->item = Item::is_there;
    changed->notify_one();
  }
  void take() const {
    const std::scoped_lock guard(*lock);
    changed->wait(*lock, [&] { return shared->item == Item::is_there; });
    shared->item = Item::taken;
  }
  /// For a sleeper: the same, with an end. Before that it waits so often for a notification only.
  [[nodiscard]] std::string take_as_sleeper(int waits_before) const {
    crash::sleep_lightly();
    const std::scoped_lock guard(*lock);
    const auto wait_once = [&] {
      ++shared->waits;
      require(changed->wait_for(*lock, 5s), "nobody notified");
    };
    for (int i = 0; i < waits_before; ++i) wait_once();
    while (shared->item != Item::is_there) wait_once();
    shared->item = Item::taken_by_sleeper;
    return got_it;
  }
  void wait_until_sleeper_waits(int times) const {
    while (true) {
      const std::scoped_lock guard(*lock);
      if (shared->waits == times) return;
    }
  }

  /// The word that decides: the first of its line, behind those of the object and of who waits.
  [[nodiscard]] const void* let_go() const {
    return reinterpret_cast<const std::byte*>(&crash::object_of(*changed)) + 192;
  }

  /// The sleeper gets the item. Looks without the lock first: who takes that from the dead is told, and
  /// then nobody else is.
  [[nodiscard]] std::string outcome(const Moment& moment) const {
    const Item item = shared->item;
    if (item == Item::none || item == Item::taken) put();
    require(crash::rouse(moment) == got_it, "the waiter got nothing");
    require_to_work();
    return item == Item::taken ? was_taken : got_it;
  }

  /// The lock and the condition do all that they should.
  void require_to_work() const {
    require(lock->try_lock_for(5s), "the lock can't be taken");
    lock->unlock();
    lock->lock();
    require(!changed->wait_for(*lock, 0s), "notified by nobody");
    changed->notify_one();
    changed->notify_all();
    require(!changed->wait_for(*lock, 0s), "an old notification was kept");
    lock->unlock();
  }
};

}  // namespace

TEST_SUITE("condition") {
  TEST_CASE("a wait that nobody ends") {
    const crash::Balance balance;
    Fresh fresh;
    crash::prove({
        .name = "wait, until the time is up",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              static_cast<void>(fresh.changed->wait_for(*fresh.lock, 0s));
            },
        .check =
            [&](const Moment&) {
              fresh.require_to_work();
              return "works on";
            },
        .expected = {"works on"},
        .budget = 5s,
    });
    fresh.lock.reset();
    fresh.changed.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("who notifies is killed") {
    Fresh fresh;
    crash::prove({
        .name = "notify_one that wakes another",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.put(); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {got_it},
        .sleeper = [&] { return fresh.take_as_sleeper(0); },
        .budget = 6s,
    });
  }

  TEST_CASE("one who waits is notified and killed: the next is notified") {
    Fresh fresh;
    crash::prove({
        .name = "wait that is notified, before another who waits",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.take(); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {got_it, was_taken},
        .sleeper = [&] { return fresh.take_as_sleeper(1); },
        .waker =
            [&] {
              // The sleeper came first, and goes to the end of the line.
              fresh.changed->notify_one();
              fresh.wait_until_sleeper_waits(2);
              fresh.put();
            },
        .budget = 8s,
    });
  }

  TEST_CASE("who notifies is stopped, and goes on later") {
    Fresh fresh;
    crash::prove({
        .name = "notify_one that wakes another",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.put(); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {got_it},
        .with = With::stop,
        .while_stopped =
            [&] {
              if (!fresh.lock->try_lock_for(1ms)) return;
              require(!fresh.lock->owner_died(), "a stopped process counts as dead");
              fresh.lock->unlock();
            },
        .sleeper = [&] { return fresh.take_as_sleeper(0); },
        .budget = 8s,
    });
  }

  TEST_CASE("one whose time is up is stopped, and has no notification that is made then") {
    struct Notifier {
      std::atomic<pid_t> pid;
      std::atomic<bool> begins;
      std::atomic<bool> has_ended;
    };
    const crash::SharedPage<Notifier> notifier;
    Fresh fresh;
    crash::prove({
        .name = "wait, until the time is up, before another who waits",
        .prepare =
            [&] {
              fresh.prepare();
              notifier->pid = 0;
              notifier->begins = notifier->has_ended = false;
            },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              require(!fresh.changed->wait_for(*fresh.lock, 200ms), "notified by nobody");
            },
        .check =
            [&](const Moment& moment) {
              require(crash::rouse(moment) == got_it, "the waiter got nothing");
              fresh.require_to_work();
              return got_it;
            },
        .expected = {got_it},
        .with = With::stop,
        // It waits where the stopped one has the list of the waiters.
        .while_stopped =
            [&] {
              notifier->begins = true;
              for (int asleep = 0; asleep < 3 && !notifier->has_ended;) {
                const bool sleeps =
                    notifier->pid != 0 && crash::process_state(notifier->pid) == 'S';
                asleep = sleeps ? asleep + 1 : 0;
                std::this_thread::sleep_for(300us);
              }
            },
        .sleeper = [&] { return fresh.take_as_sleeper(1); },
        // Without the lock, which the stopped one holds.
        .waker =
            [&] {
              notifier->pid = ::getpid();
              while (!notifier->begins) std::this_thread::yield();
              fresh.shared->item = Item::is_there;
              fresh.changed->notify_one();
              notifier->has_ended = true;
            },
        .once_asleep =
            [&] {
              // The sleeper came first, and goes to the end of the line.
              fresh.changed->notify_one();
              fresh.wait_until_sleeper_waits(2);
            },
        // From the store on that says that there is a gap in the line, to where its place is free.
        .lead = {.word = [&] { return fresh.let_go(); }, .stores = 1, .window = 40},
        .budget = 8s,
    });
  }

  TEST_CASE("who sees that the lock was left by the dead comes too late for it, and waits on") {
    enum class End { none, told, time_is_up, too_early };
    const crash::SharedPage<std::atomic<End>> end;
    Fresh fresh;
    crash::prove({
        .name = "wait, while the lock's holder dies",
        .prepare =
            [&] {
              fresh.prepare();
              *end = End::none;
            },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              const auto moment = std::chrono::steady_clock::now() + 400ms;
              const bool told = fresh.changed->wait_for(*fresh.lock, 400ms,
                                                        [&] { return fresh.lock->owner_died(); });
              const bool in_time = std::chrono::steady_clock::now() < moment;
              *end = told ? End::told : in_time ? End::too_early : End::time_is_up;
            },
        .check = [&](const Moment&) -> std::string {
          require(*end != End::too_early, "its wait was over before the time was up");
          fresh.require_to_work();
          return *end == End::told ? "was told" : "waited on";
        },
        .expected = {"was told", "waited on"},
        .with = With::stop,
        .at = crash::At::every_change,
        .while_stopped =
            [&] {
              if (fresh.lock->try_lock_for(1ms)) fresh.lock->unlock();
            },
        .waker = [&] { std::thread([&] { fresh.lock->lock(); }).join(); },
    });
  }

  TEST_CASE("who passes on a notification of the dead is killed too") {
    Fresh fresh;
    const std::string passed_on = "it was passed on";
    crash::prove({
        .name = "wait beside a killed waiter who had been notified",
        .prepare =
            [&] {
              fresh.prepare();
              kin::Process waiter([&] { fresh.take(); });
              waiter.start();
              std::atomic<pid_t> pid(waiter.pid());
              crash::wait_until_asleep(pid);
              waiter.kill();
              waiter.join();
              fresh.changed->notify_one();
            },
        .operation =
            [&] {
              const std::scoped_lock guard(*fresh.lock);
              require(fresh.changed->wait_for(*fresh.lock, 1s), "it was not passed on");
              fresh.shared->item = Item::taken;
            },
        .check =
            [&](const Moment&) {
              fresh.lock->lock();
              // It may be the killed one's: then that one had the lock, or had noted it.
              const bool was_its = fresh.shared->item == Item::taken || fresh.lock->owner_died();
              const bool got_it = fresh.changed->wait_for(*fresh.lock, was_its ? 0s : 1s);
              fresh.lock->unlock();
              require(got_it != was_its, "the notification was lost, or came twice");
              fresh.require_to_work();
              return got_it ? passed_on : was_taken;
            },
        .expected = {passed_on, was_taken},
        .at = crash::At::every_change,
        .watch =
            [&] {
              return crash::Ranges{
                  {reinterpret_cast<const std::byte*>(&crash::object_of(*fresh.changed)), 256},
                  {reinterpret_cast<const std::byte*>(&crash::object_of(*fresh.lock)), 256}};
            },
        .budget = 8s,
    });
  }
}
