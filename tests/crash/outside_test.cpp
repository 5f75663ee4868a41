// SPDX-License-Identifier: BSL-1.0

// What stands between a manager and another program is killed: the session and the relay at sampled instructions of
// the thread that takes calls (their other thread is wherever it is at that moment), and all three, with the
// gateway, at random moments. The other program's calls end, with an answer or with ManagerDied; the manager's own
// family goes on, has no item less, and nothing is held that was held there.

#include "crash/household.hpp"
#include "outside/relay.hpp"
#include "outside/session.hpp"
#include "support/belongings.hpp"
#include "support/shared_page.hpp"
#include "support/socket_ends.hpp"
#include "waiting/futex.hpp"

#include <kin/error.hpp>
#include <kin/expose.hpp>
#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <signal.h>
#include <unistd.h>

using crash::Moment;
using crash::require;
using kin::detail::End;
using kin::detail::Find;
using kin::detail::ManagerState;
using kin::detail::Root;
using namespace std::chrono_literals;

namespace {

using Number = kin::managed::Value<int>;
using Items = kin::managed::Queue<int>;

[[maybe_unused]] const bool are_exposed =
    kin::expose<Number>() && kin::expose<Items>() && kin::expose<kin::managed::Lock>();

constexpr std::chrono::seconds patience(10);

const std::string served = "served to the end";
const std::string told = "told that the manager is not there";

template <typename Condition>
bool eventually(Condition condition) {
  const auto end = crash::Clock::now() + patience;
  while (!condition()) {
    if (crash::Clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

/// What both programs use.
struct Shop {
  kin::Manager manager;
  Number number = manager.value<int>(0);
  Items queue = manager.queue<int>();
  kin::managed::Lock lock = manager.lock();
  std::size_t objects = 0;

  explicit Shop(kin::ManagerOptions options = {}) : manager(std::move(options)) {
    manager.publish("number", number);
    manager.publish("queue", queue);
    manager.publish("lock", lock);
    objects = manager.statistics().objects;
  }
  /// As many clients as there are without the other program, and nothing of what it had.
  [[nodiscard]] bool has_clients(std::size_t clients) const {
    const kin::ManagerStatistics now = manager.statistics();
    return now.clients == clients && now.parked == 0;
  }
  [[nodiscard]] bool has_own_objects() const { return manager.statistics().objects == objects; }
  [[noreturn]] void complain() const {
    const kin::ManagerStatistics now = manager.statistics();
    throw std::runtime_error("left are " + std::to_string(now.clients) + " clients, " +
                             std::to_string(now.parked) + " calls that wait, and " +
                             std::to_string(now.objects - objects) + " objects");
  }
};

/// What another program's process has noted of what it did.
struct Diary {
  std::atomic<int> calls;  // that were answered
  std::array<std::atomic<bool>, 64> items;
  std::atomic<bool> was_put;
  std::atomic<pid_t> relay;

  void clear() {
    was_put = false;
    calls = 0;
    relay = 0;
    for (auto& item : items) item = false;
  }
};

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

// ---- at random moments

constexpr const char* key = "open sesame";

/// Another program, that does one thing after the other until it is told; or why it stopped else.
std::string use(const std::string& address, Diary& diary) {
  try {
    const auto far = kin::Manager::connect(address, std::string(key));
    diary.relay = far.process().pid();
    try {
      const auto number = far.find<Number>("number");
      const auto queue = far.find<Items>("queue");
      const auto lock = far.find<kin::managed::Lock>("lock");
      while (true) {
        number.fetch_add(1);
        ++diary.calls;
        lock.lock();
        require(far.value<int>(5).load() == 5, "it was made wrong");
        diary.items.at(static_cast<std::size_t>(queue.get())) = true;
        lock.unlock();
      }
    } catch (const kin::ManagerDied&) {
      try {
        static_cast<void>(far.statistics());
        return "it went on";
      } catch (const kin::ManagerDied&) {
        return told;
      }
    }
  } catch (const kin::Error& error) {
    return std::string("not connected: ") + error.what();
  }
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

/// A manager in the world, and who lets in.
struct OpenShop {
  std::vector<pid_t> before = children_of(getpid());
  Shop shop;
  pid_t gateway = 0;

  explicit OpenShop(const std::string& address) : shop({.address = address, .authkey = key}) {
    for (const pid_t child : children_of(getpid())) {
      if (std::ranges::find(before, child) == before.end() &&
          child != shop.manager.process().pid()) {
        gateway = child;
      }
    }
    REQUIRE(gateway != 0);
  }
};

enum class Victim { relay, session, gateway };

/// One program comes, and somebody on its way is killed when it has made so many turns, or waits.
void kill_once(const OpenShop& open, Victim victim, std::minstd_rand& random, Diary& diary) {
  const Shop& shop = open.shop;
  diary.clear();
  shop.number.store(0);
  const int items = static_cast<int>(random() % 12);
  for (int item = 0; item < items; ++item) shop.queue.put(item);
  const int turns = static_cast<int>(random() % 14);
  const std::chrono::microseconds later(random() % 400);
  crash::Bystander program([&] { return use(shop.manager.address(), diary); });
  // It waits when there is nothing left to get.
  REQUIRE(
      eventually([&] { return diary.calls >= turns || shop.manager.statistics().parked == 1; }));
  const auto moment = crash::Clock::now() + later;
  while (crash::Clock::now() < moment) {
  }
  pid_t pid = open.gateway;
  if (victim == Victim::session) {
    REQUIRE(eventually([&] { return !children_of(open.gateway).empty(); }));
    pid = children_of(open.gateway).front();
  } else if (victim == Victim::relay) {
    REQUIRE(eventually([&] { return diary.relay != 0; }));
    pid = diary.relay;
  }
  REQUIRE(kill(pid, SIGKILL) == 0);
  REQUIRE(program.ends_by(crash::Clock::now() + patience));
  const std::string answer = program.answer().value_or("failed: " + program.failure());
  // Who was about to come in may hear of it in other words.
  CHECK_MESSAGE((answer == told || answer.starts_with("not connected")), answer);
  if (diary.calls > 0) CHECK(answer == told);
  CHECK(eventually([&] { return shop.has_clients(1) && shop.has_own_objects(); }));
  CHECK(shop.lock.try_lock_for(patience));
  shop.lock.unlock();
  const int calls = shop.number.load();
  CHECK((calls == diary.calls || calls == diary.calls + 1));
  // All items are there, or were read; the last of these may be there again.
  int twice = 0;
  std::vector<bool> are_left(diary.items.size());
  while (const auto item = shop.queue.try_get()) {
    are_left.at(static_cast<std::size_t>(*item)) = true;
    if (diary.items.at(static_cast<std::size_t>(*item))) ++twice;
  }
  for (std::size_t item = 0; item < static_cast<std::size_t>(items); ++item) {
    CHECK_MESSAGE((are_left[item] || diary.items[item]), "item " << item << " was lost");
  }
  CHECK(twice <= 1);
}

std::minstd_rand new_random() {
  const auto seed = std::random_device()();
  std::cout << "seed " << seed << '\n';
  return std::minstd_rand(seed);
}

std::string own_path() { return "/tmp/kin-crash-outside-" + std::to_string(getpid()); }

void kill_many(Victim victim, int rounds) {
  std::minstd_rand random = new_random();
  const crash::SharedPage<Diary> diary;
  const OpenShop open(own_path());
  for (int round = 0; round < rounds; ++round) kill_once(open, victim, random, *diary);
  // The next one comes in.
  const auto far = kin::Manager::connect(open.shop.manager.address(), std::string(key));
  CHECK(far.find<Number>("number").load() == open.shop.number.load());
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

  TEST_CASE("a session is killed at a random moment") { kill_many(Victim::session, 40); }
  TEST_CASE("a relay is killed at a random moment") { kill_many(Victim::relay, 40); }

  TEST_CASE(
      "the gateway is killed at a random moment: its sessions go with it, and nobody comes in") {
    std::minstd_rand random = new_random();
    const crash::SharedPage<Diary> diary;
    static_cast<void>(kin::Queue<int>());  // the first keeps a descriptor
    const support::Belongings before;
    for (int round = 0; round < 40; ++round) {
      // The path that is left behind is the next manager's.
      const OpenShop open(own_path());
      kill_once(open, Victim::gateway, random, *diary);
      CHECK(std::filesystem::exists(own_path()));
      CHECK_THROWS_AS(static_cast<void>(kin::Manager::connect(own_path(), std::string(key))),
                      kin::SystemError);
    }
    std::filesystem::remove(own_path());
    CHECK(before.difference_now() == "");
  }
}
