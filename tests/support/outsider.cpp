// SPDX-License-Identifier: BSL-1.0
//
// Another program, of no family with the tests: outsider ADDRESS WHAT. Connects to the manager there and does
// one thing; "ok" is its last line if all was as it should be. See the cases of tests/unit/outside_test.cpp.

#include "outside_account.hpp"

#include <kin/kin.hpp>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using outside::Account;
using outside::Counts;
using outside::Words;

// Here only, and not in the manager's program.
[[maybe_unused]] const bool numbers_are_exposed = kin::expose<double>();

void require(bool is_so, const char* what) {
  if (!is_so) throw std::runtime_error(std::string("it is not so: ") + what);
}
#define REQUIRE(condition) require(condition, #condition)

template <typename Error, typename Function>
std::string complaint(Function&& function) {
  try {
    static_cast<void>(function());
  } catch (const Error& error) {
    return error.what();
  }
  throw std::runtime_error("nothing was thrown");
}

void say(const std::string& what) { std::cout << what << std::endl; }

void call_methods(const kin::Manager& manager) {
  const auto account = manager.find<kin::Proxy<Account>>("account");
  account.call(&Account::deposit, 5L);  // as an int
  REQUIRE(account.call(&Account::balance) == 105);
  account.call(&Account::set_owner, "Ada");
  REQUIRE(account.call(&Account::owner) == "Ada");
  REQUIRE(account.apply(outside::double_balance, 1) == 210);
  REQUIRE(complaint<std::out_of_range>([&] {
            account.call(&Account::withdraw, 1000);
            return 0;
          }).find("more than there is") != std::string::npos);
  REQUIRE(complaint<kin::RemoteError>([&] {
            account.call(&Account::be_robbed);
            return 0;
          }).find("all of it is gone") != std::string::npos);
  const outside::Advice advice{[](int balance) { return balance + 1; }};
  REQUIRE(complaint<kin::SerializationError>([&] {
            account.call(&Account::follow, advice);
            return 0;
          }).find("an address of code") != std::string::npos);
  auto advices = account.batch();
  const auto followed = advices.call(&Account::follow, advice);
  advices.run();
  REQUIRE(complaint<kin::SerializationError>([&] {
            followed.get();
            return 0;
          }).find("an address of code") != std::string::npos);
  const auto own = manager.make<Account>(7);
  REQUIRE(own.call(&Account::balance) == 7);
  REQUIRE(own != account);
  REQUIRE(account == manager.find<kin::Proxy<Account>>("account"));
  auto later = account.call_async(&Account::balance);
  REQUIRE(later.get() == 210);
  auto batch = own.batch();
  for (int i = 0; i < 1000; ++i) batch.call(&Account::deposit, 1);
  const auto balance = batch.call(&Account::balance);
  const auto fails = batch.call(&Account::withdraw, 5000);
  batch.run();
  REQUIRE(balance.get() == 1007);
  static_cast<void>(complaint<std::out_of_range>([&] {
    fails.get();
    return 0;
  }));
}

void use_ready_types(const kin::Manager& manager) {
  const Counts counts = manager.dict<std::string, int>({{"a", 1}});
  counts["b"] = 2;
  counts.update({{"c", 3}});
  REQUIRE(counts.fetch_add("b", 5) == 2);
  REQUIRE(counts.pop("a") == 1);
  REQUIRE((counts.keys() == std::vector<std::string>{"b", "c"}));
  REQUIRE(complaint<std::out_of_range>([&] { return counts.get("x"); }) != "");

  const auto shelves = manager.dict<std::string, Words>();
  shelves["x"] = manager.list<std::string>({"p"});
  shelves["x"].get().append("q");
  REQUIRE((shelves.get("x").copy() == std::vector<std::string>{"p", "q"}));

  const auto primes = manager.set<int>({2, 3, 5});
  REQUIRE(primes.add(7) && !primes.add(3));
  primes |= manager.set<int>({11});
  REQUIRE((primes & std::set<int>{2, 11, 12}) == (std::set<int>{2, 11}));
  const auto settings = manager.name_space();
  settings.set("x", 5);
  settings.set("name", "Ada");
  REQUIRE(settings.get<int>("x") == 5 && settings.get<std::string>("name") == "Ada");
  REQUIRE(complaint<kin::Error>([&] { return settings.get<int>("name"); }) != "");
  const Words words = manager.list<std::string>({"b"});
  words += std::vector<std::string>{"a"};
  words.sort();
  REQUIRE((words + words).size() == 4);

  const auto numbers = manager.array<double>({1, 2, 3});
  numbers.set(1, 5);
  REQUIRE((numbers.slice(0, 2) == std::vector<double>{1, 5}));
  const auto hits = manager.value<int>(1);
  REQUIRE(hits.fetch_add(2) == 1 && hits.load() == 3);

  const auto lifo = manager.lifo_queue<int>();
  lifo.put(1);
  lifo.put(2);
  REQUIRE(lifo.get() == 2);
  const auto jobs = manager.joinable_queue<int>();
  jobs.put(1);
  REQUIRE(!jobs.join_for(1ms));
  static_cast<void>(jobs.get());
  jobs.task_done();
  jobs.join();
  const auto few = manager.priority_queue<int>(1);
  REQUIRE(few.try_put(2) && !few.try_put(3) && !few.put_for(3, 10ms));
  REQUIRE(few.get() == 2 && !few.try_get() && !few.get_for(10ms));

  const auto lock = manager.rlock();
  lock.lock();
  lock.lock();
  REQUIRE(lock.locked());
  kin::Process other([lock] {
    REQUIRE(!lock.try_lock());
    REQUIRE(!lock.try_lock_for(10ms));
  });
  other.start();
  other.join();
  REQUIRE(other.exit_code() == 0);
  lock.unlock();
  lock.unlock();
  const auto permits = manager.bounded_semaphore(1);
  permits.acquire();
  REQUIRE(!permits.try_acquire());
  permits.release();
  const auto event = manager.event();
  kin::Process setter([event] { event.set(); });
  setter.start();
  event.wait();
  setter.join();
  const auto condition = manager.condition();
  condition.lock();
  REQUIRE(!condition.wait_for(10ms));
  condition.unlock();
  const auto barrier = manager.barrier(2);
  kin::Process party([barrier] { static_cast<void>(barrier.wait()); });
  party.start();
  static_cast<void>(barrier.wait());
  party.join();
  REQUIRE(party.exit_code() == 0);
}

void ask_for_too_much(const kin::Manager& manager) {
  const auto account = manager.find<kin::Proxy<Account>>("account");
  // It says which call it was, and what to do.
  const auto refused = [&](auto&& function, const std::string& name) {
    const std::string text = complaint<std::invalid_argument>(function);
    const auto holds = [&](const std::string& part) {
      return text.find(part) != std::string::npos;
    };
    return holds("not exposed") && holds(name) && holds("kin::expose<");
  };
  const std::string secret = "int (outside::Account::*)() const";
  REQUIRE(refused([&] { return account.call(&Account::secret); }, secret));
  REQUIRE(refused([&] { return account.call_async(&Account::secret).get(); }, secret));
  REQUIRE(refused([&] { return account.apply([](Account& it) { return it.secret(); }); },
                  "lambda(outside::Account&)"));
  REQUIRE(refused([&] { return manager.make<std::vector<int>>(); }, "std::vector<int"));
  auto batch = account.batch();
  static_cast<void>(batch.call(&Account::balance));
  static_cast<void>(batch.call(&Account::secret));
  REQUIRE(refused(
      [&] {
        batch.run();
        return 0;
      },
      "call 2 of the batch"));
  const kin::Queue<int> own;
  REQUIRE(complaint<std::invalid_argument>([&] {
            account.apply([](Account& /*it*/, const kin::Queue<int>& /*queue*/) {}, own);
            return 0;
          }) != "");
  REQUIRE(complaint<std::out_of_range>([&] {
            return manager.find<kin::Proxy<Account>>("nobody");
          }).find("nobody") != std::string::npos);
  // Plain values, if their type was exposed.
  REQUIRE(manager.find<std::string>("motto") == "honest");
  REQUIRE(refused([&] { return manager.find<int>("number"); }, "Find<int>"));
  REQUIRE(refused([&] { return manager.find<double>("number"); },
                  "in the manager's program: kin::detail::Find<double>"));
  REQUIRE(complaint<std::invalid_argument>([&] {
            return manager.find<Words>("account");
          }).find("Account") != std::string::npos);
  REQUIRE(account.call(&Account::balance) == 100);
  const auto jobs = manager.find<kin::managed::Queue<outside::Job>>("jobs");
  REQUIRE(complaint<std::invalid_argument>([&] {
            return jobs.get().number;
          }).find("can't go to another program") != std::string::npos);
}

// From here on the other side has to end it.
void wait_to_be_killed() {
  while (true) ::pause();
}

const std::map<std::string, std::function<void(const kin::Manager&)>> deeds{
    {"methods", call_methods},
    {"ready types", use_ready_types},
    {"too much", ask_for_too_much},
    {"killed in a long call",
     [](const kin::Manager& manager) {
       const auto account = manager.find<kin::Proxy<Account>>("account");
       kin::Process victim([account] { account.apply(outside::dawdle, 700); });
       victim.start();
       victim.join_for(100ms);
       victim.kill();
       victim.join();
       // The next ones have its line.
       for (int i = 0; i < 20; ++i) {
         kin::Process other([account] { static_cast<void>(account.call(&Account::balance)); });
         other.start();
         other.join();
         REQUIRE(other.exit_code() == 0);
       }
     }},
    {"take a task",
     [](const kin::Manager& manager) {
       say(std::to_string(manager.find<kin::managed::JoinableQueue<int>>("tasks").get()));
       wait_to_be_killed();
     }},
    {"large arguments",
     [](const kin::Manager& manager) {
       const auto account = manager.find<kin::Proxy<Account>>("account");
       account.call(&Account::set_owner, std::string(50'000, 'x'));
       static_cast<void>(complaint<kin::ManagerDied>([&] {
         account.call(&Account::set_owner, std::string(200'000, 'x'));
         return 0;
       }));
     }},
    {"hold lock",
     [](const kin::Manager& manager) {
       manager.find<kin::managed::Lock>("lock").lock();
       say("held");
       wait_to_be_killed();
     }},
    {"child holds lock",
     [](const kin::Manager& manager) {
       const auto lock = manager.find<kin::managed::Lock>("lock");
       kin::Process child([&] {
         lock.lock();
         ::raise(SIGKILL);
       });
       child.start();
       child.join();
       lock.lock();
       REQUIRE(lock.owner_died());
       lock.unlock();
     }},
    {"park",
     [](const kin::Manager& manager) {
       const auto jobs = manager.find<kin::managed::Queue<std::string>>("jobs");
       say("parking");
       say(jobs.get());
       wait_to_be_killed();
     }},
    {"take the last",
     [](const kin::Manager& manager) {
       const auto jobs = manager.find<kin::managed::Queue<std::string>>("jobs");
       say(std::to_string(manager.process().pid()));
       say(jobs.get());
     }},
    {"objects",
     [](const kin::Manager& manager) {
       std::vector<kin::Proxy<Account>> accounts;
       for (int i = 0; i < 20; ++i) accounts.push_back(manager.make<Account>(i));
       say("made");
       std::string line;
       std::getline(std::cin, line);
       accounts.resize(5);
       kin::Process child([own = accounts.front()] { REQUIRE(own.call(&Account::balance) == 0); });
       child.start();
       child.join();
       REQUIRE(child.exit_code() == 0);
       say("dropped");
       wait_to_be_killed();
     }},
    {"until it ends",
     [](const kin::Manager& manager) {
       const auto account = manager.find<kin::Proxy<Account>>("account");
       const auto jobs = manager.find<kin::managed::Queue<std::string>>("jobs");
       say("there");
       say(complaint<kin::ManagerDied>([&] { return jobs.get(); }));
       say(complaint<kin::ManagerDied>([&] { return account.call(&Account::balance); }));
     }},
};

}  // namespace

int main(int count, char** words) {
  try {
    if (count != 3) throw std::invalid_argument("usage: outsider ADDRESS WHAT");
    const kin::Manager manager = kin::Manager::connect(words[1], std::string(outside::key));
    deeds.at(words[2])(manager);
    say("ok");
  } catch (const std::exception& error) {
    say(std::string("failed: ") + error.what());
    return 1;
  }
}
