// SPDX-License-Identifier: BSL-1.0

// The relay, the session and the gateway between a manager and another program are killed at random moments. The other
// program is told; the manager's own family goes on, has no item less, and nothing is held that was held there.

#include "crash/outside_shop.hpp"
#include "support/belongings.hpp"
#include "support/shared_page.hpp"

#include <kin/error.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include <signal.h>
#include <unistd.h>

using crash::Diary;
using crash::eventually;
using crash::Items;
using crash::Number;
using crash::require;
using crash::Shop;
using crash::told;

namespace {

constexpr std::chrono::seconds patience = crash::shop_patience;

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
  // Killed in the round before: it stays a zombie until the gateway looks again.
  pid_t last_session = 0;

  explicit OpenShop(const std::string& address) : shop({.address = address, .authkey = key}) {
    for (const pid_t child : children_of(getpid())) {
      if (std::ranges::find(before, child) == before.end() &&
          child != shop.manager.process().pid()) {
        gateway = child;
      }
    }
    REQUIRE(gateway != 0);
  }
  /// Of the program that comes now; 0 before it is in.
  [[nodiscard]] pid_t session() const {
    const std::vector<pid_t> sessions = children_of(gateway);
    const auto newest =
        std::ranges::find_if(sessions, [&](pid_t pid) { return pid != last_session; });
    return newest == sessions.end() ? 0 : *newest;
  }
};

enum class Victim { relay, session, gateway };

/// One program comes, and somebody on its way is killed when it has made so many turns, or waits.
void kill_once(OpenShop& open, Victim victim, std::minstd_rand& random, Diary& diary) {
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
    REQUIRE(eventually([&] { return open.session() != 0; }));
    pid = open.last_session = open.session();
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
  OpenShop open(own_path());
  for (int round = 0; round < rounds; ++round) kill_once(open, victim, random, *diary);
  // The next one comes in.
  const auto far = kin::Manager::connect(open.shop.manager.address(), std::string(key));
  CHECK(far.find<Number>("number").load() == open.shop.number.load());
}

}  // namespace

TEST_SUITE("outside at random") {
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
      OpenShop open(own_path());
      kill_once(open, Victim::gateway, random, *diary);
      CHECK(std::filesystem::exists(own_path()));
      // Refused, or ended: a session that was being born may have had the listening socket a moment longer.
      CHECK_THROWS_AS(static_cast<void>(kin::Manager::connect(own_path(), std::string(key))),
                      kin::Error);
    }
    std::filesystem::remove(own_path());
    CHECK(before.difference_now() == "");
  }
}
