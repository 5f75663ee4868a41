// SPDX-License-Identifier: BSL-1.0

// A session and a relay, which stand between a manager and another program, are killed at sampled instructions of the
// thread that takes calls; their other thread is wherever it is at that moment. The other program's calls end, with an
// answer or with ManagerDied; the manager's own family goes on, has no item less, and nothing is held that was held
// there.

#include "crash/outside_shop.hpp"
#include "outside/relay.hpp"
#include "outside/session.hpp"
#include "support/shared_page.hpp"
#include "support/socket_ends.hpp"
#include "waiting/futex.hpp"

#include <kin/error.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <signal.h>
#include <unistd.h>

using crash::Diary;
using crash::eventually;
using crash::Items;
using crash::Moment;
using crash::Number;
using crash::require;
using crash::Shop;
using crash::told;
using kin::detail::End;
using kin::detail::Find;
using kin::detail::ManagerState;
using kin::detail::Root;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds patience = crash::shop_patience;

const std::string served = "served to the end";

/// A relay and a session, one of them the traced process, the other beside it; and a client of the relay's.
class Passage {
 public:
  enum class Traced { relay, session };

  explicit Passage(Traced traced) : traced_(traced) {}

  void prepare() {
    beside_.reset();
    crash::sweep_the_dead();
    shop_.number.store(0);
    while (shop_.queue.try_get()) {
    }
    // Not in the check: who was forked while the dead one's object was there may have inherited it.
    if (!shop_.has_own_objects()) ++rounds_with_more_;
    diary_->clear();
    memory_.reset();
    memory_.emplace();
    auto [one, other] = support::socket_pair(support::SocketKind::unix_domain);
    relay_end_ = support::end_over(std::move(one));
    session_end_ = support::end_over(std::move(other));
    if (traced_ == Traced::relay) {
      beside_.emplace([this] { return run_session(); });
      session_end_.close();
    } else {
      beside_.emplace([this] { return run_relay(); });
      relay_end_.close();
    }
  }
  /// The traced process has its end now, and nobody else is to have it.
  void let_go() { (traced_ == Traced::relay ? relay_end_ : session_end_).close(); }
  void operation() { static_cast<void>(traced_ == Traced::relay ? run_relay() : run_session()); }
  /// The word that the traced process stores to once for each call: as it takes, or passes on.
  [[nodiscard]] const void* word() const {
    if (traced_ == Traced::relay) return &far().requests->head;
    return &near().requests->tail;
  }

  /// In a client of the relay's: all that there is to be done, and then the end of the relay.
  [[nodiscard]] std::string visit() const {
    End::close_inherited({});
    crash::sleep_lightly();
    while (far().phase.load() != ManagerState::open) {
      if (far().server.load() != 0 && kin::detail::is_gone(far().server.load())) return told;
      kin::detail::futex_wait_slice(far().phase, far().phase.load(),
                                    kin::detail::Deadline::after(1ms));
    }
    try {
      // In front of each: which call of the relay's it is.
      const Root root(kin::detail::Handle(kin::detail::make_hosted(
          far(), 0, 0, kin::detail::type_number(typeid(kin::detail::HostRoot)))));
      /* 1 */ const auto number = root.own(Find<Number>{}, std::string("number"));
      /* 2 */ const auto queue = root.own(Find<Items>{}, std::string("queue"));
      /* 3 */ const auto lock = root.own(Find<kin::managed::Lock>{}, std::string("lock"));
      /* 4 */ number.fetch_add(1);
      diary_->calls = 1;
      /* 5 */ lock.lock();
      /* 6 */ Number made(root.own(kin::detail::MakeHosted<int>{}, 5));
      /* 7 */ require(made.load() == 5, "it was made wrong");
      std::atomic<bool> is_over = false;
      std::thread giver([&] {
        while (!is_over && shop_.manager.statistics().parked == 0) std::this_thread::yield();
        shop_.queue.put(7);
        diary_->was_put = true;
      });
      try {
        /* 8 */ require(queue.get() == 7, "it is another item");
        diary_->items[7] = true;
      } catch (const kin::ManagerDied&) {
        is_over = true;
        giver.join();
        throw;
      }
      is_over = true;
      giver.join();
      /* 9 */ number.fetch_add(1);
      diary_->calls = 2;
      kin::detail::NoLine no_line;
      kin::detail::shut_down(*far().requests, no_line);
      return served;  // the lock is its to the end
    } catch (const kin::ManagerDied&) {
      return told;
    }
  }
  [[nodiscard]] std::string outcome(const Moment& moment) const {
    // Its slices of sleep would take a quarter of a second each. Now and then it sleeps them out.
    while (moment.step % 16 != 0 && !moment.sleeper->answer()) {
      kill(moment.sleeper->pid(), SIGUSR1);
      std::this_thread::sleep_for(300us);
    }
    const std::string answer = moment.sleeper_answer();
    require(answer == served || !moment.completed, "told of a death that was none");
    // The test, and this.
    if (!eventually([&] { return shop_.has_clients(2); })) shop_.complain();
    const int calls = shop_.number.load();
    require(calls == diary_->calls || calls == diary_->calls + 1, "calls were lost, or came twice");
    require(shop_.lock.try_lock_for(patience), "a dead program's lock is not free");
    shop_.lock.unlock();
    int items = 0;
    while (shop_.queue.try_get()) ++items;
    require(items == 1 || !diary_->was_put || diary_->items[7], "an item was lost");
    // What was read may be there again, until the next call told that it was.
    require(items == 0 || (items == 1 && diary_->calls < 2), "an item came twice");
    return answer;
  }

  [[nodiscard]] crash::Scenario scenario(const std::string& name, std::size_t call,
                                         std::size_t window) {
    return {
        .name = name,
        .prepare = [this] { prepare(); },
        .operation = [this] { operation(); },
        .check = [this](const Moment& moment) { return outcome(moment); },
        .expected = {told},
        .possible = {served},
        .let_go = [this] { let_go(); },
        .sleeper = [this] { return visit(); },
        // A session has one request more: for the number of who calls.
        .lead = {.word = [this] { return word(); },
                 .stores = call + (traced_ == Traced::session ? 1 : 0),
                 .window = window},
        .patience = 3 * patience,
        .budget = 2s,
    };
  }
  [[nodiscard]] const Shop& shop() const { return shop_; }
  void end() {
    prepare();
    CHECK(rounds_with_more_ == 0);
    beside_.reset();
    memory_.reset();
  }

 private:
  [[nodiscard]] ManagerState& near() const {
    return *kin::detail::HostedObject::of(crash::object_of(shop_.number)).manager;
  }
  [[nodiscard]] ManagerState& far() const { return memory_->state(); }

  /// As the gateway's.
  std::string run_session() const {
    End::close_inherited({&session_end_, 1});
    kin::detail::Handle root(kin::detail::make_hosted(
        near(), 0, 0, kin::detail::type_number(typeid(kin::detail::HostRoot))));
    kin::detail::Session(std::move(root), session_end_).run();
    return served;
  }
  /// As ManagerEngine::relay().
  std::string run_relay() const {
    End::close_inherited({&relay_end_, 1});
    const kin::detail::ManagerMemory memory(*memory_);
    far().server.store(kin::detail::this_process());
    far().pid.store(getpid());
    kin::detail::Relay relay(far(), relay_end_);
    far().phase.store(ManagerState::open);
    kin::detail::futex_wake(far().phase, INT_MAX);
    relay.run();
    return served;
  }

  Traced traced_;
  Shop shop_;
  crash::SharedPage<Diary> diary_;
  std::optional<kin::detail::ManagerMemory> memory_;
  End relay_end_;
  End session_end_;
  std::optional<crash::Bystander> beside_;
  int rounds_with_more_ = 0;
};

void prove_at(Passage::Traced traced, const std::string& who) {
  Passage passage(traced);
  crash::prove(passage.scenario(who + " when a call comes", 4, 2500));
  crash::prove(passage.scenario(who + " when a lock is taken", 5, 2500));
  crash::prove(passage.scenario(who + " when an object is made, used and dropped", 6, 5000));
  crash::prove(passage.scenario(who + " when a get waits, and an item comes", 8, 5000));
  passage.end();
}

}  // namespace

TEST_SUITE("outside") {
  TEST_CASE("a session is killed") { prove_at(Passage::Traced::session, "a session"); }

  TEST_CASE("a relay is killed") { prove_at(Passage::Traced::relay, "a relay"); }

  TEST_CASE("a session is stopped") {
    Passage passage(Passage::Traced::session);
    crash::Scenario scenario = passage.scenario("a session when a call comes", 4, 2500);
    scenario.with = crash::With::stop;
    scenario.expected = {served};
    crash::prove(scenario);
    passage.end();
  }
}
