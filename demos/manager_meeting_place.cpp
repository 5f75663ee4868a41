// SPDX-License-Identifier: BSL-1.0
//
// demo: a manager as a place to meet: containers, queues, locks and all the rest, from one manager
//
// A bakery. The bakers are processes that share no memory; all that they have in common is in the manager's
// server: what was baked, what is still to be done, and who may use the oven. Proxies are values: a lambda
// captures them, and the process that runs it has them, too.

#include <kin/kin.hpp>

#include <iostream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int bakers = 4;

// Calls work(number) in so many processes, and waits for them.
template <typename Work>
void by_all(Work work) {
  std::vector<kin::Process> processes;
  for (int baker = 0; baker < bakers; ++baker) {
    processes.emplace_back([=] { work(baker); }).start();
  }
  for (kin::Process& process : processes) process.join();
}

// dict, list, set, NameSpace, Value, Array
void keep_books(const kin::Manager& manager) {
  const auto settings = manager.name_space();  // values of any types, by name
  settings["bread"] = "rye";
  settings["loaves"] = 3;
  const auto stock = manager.dict<std::string, int>({{"flour", 20}, {"salt", 5}});
  const auto shelf = manager.list<std::string>();
  const auto kinds = manager.set<std::string>({"wheat"});
  const auto sold = manager.value<int>(0);
  const auto by_baker = manager.array<int>(std::vector<int>(bakers));

  by_all([=](int baker) {
    const std::string bread = settings["bread"];
    const int loaves = settings["loaves"];
    stock.modify(
        "flour", [](int& left, int used) { left -= used; }, loaves);  // one call: atomic
    for (int loaf = 0; loaf < loaves; ++loaf) shelf.append(bread);
    kinds.add(bread);
    sold.fetch_add(1);
    by_baker[baker] = loaves;
  });
  std::cout << "settings " << settings << ", stock " << stock << '\n';
  std::cout << shelf.count("rye") << " loaves on the shelf, " << sold << " sold, of the kinds "
            << kinds << ", by baker " << by_baker << '\n';
}

// Queues in three orders
void take_orders(const kin::Manager& manager) {
  const auto first_in = manager.queue<int>();
  const auto last_in = manager.lifo_queue<int>();
  const auto smallest = manager.priority_queue<int>();
  kin::Process customer([=] {
    for (const int order : {20, 30, 10}) {
      first_in.put(order);
      last_in.put(order);
      smallest.put(order);
    }
  });
  customer.start();
  customer.join();
  const auto drain = [](std::string_view name, const auto& queue) {
    std::cout << name << ':';
    while (const auto order = queue.try_get()) std::cout << ' ' << *order;
    std::cout << '\n';
  };
  drain("first in, first out", first_in);
  drain("last in, first out", last_in);
  drain("the smallest first", smallest);
}

// Lock, RLock
void count_the_till(const kin::Manager& manager) {
  const auto till = manager.dict<std::string, int>({{"coins", 0}, {"visits", 0}});
  const auto lock = manager.lock();
  const auto key = manager.rlock();
  const auto pay = [=](int coins) {
    const std::scoped_lock guard(key);
    till["coins"] += coins;  // reads, then writes: two calls
  };
  by_all([=](int) {
    for (int visit = 0; visit < 25; ++visit) {
      const std::scoped_lock guard(key);
      pay(2);  // takes the key again, which this thread has
      pay(1);
    }
    const std::scoped_lock guard(lock);
    till["visits"] += 25;
  });
  std::cout << "in the till: " << till << '\n';
}

// Semaphore, BoundedSemaphore
void use_the_oven(const kin::Manager& manager) {
  const auto places = manager.semaphore(2);
  const auto inside = manager.value<int>(0);
  const auto most = manager.value<int>(0);
  by_all([=](int) {
    for (int tray = 0; tray < 10; ++tray) {
      places.acquire();
      const int now = inside.fetch_add(1) + 1;
      most.modify([](int& it, int seen) { it = seen > it ? seen : it; }, now);
      inside.fetch_add(-1);
      places.release();
    }
  });
  std::cout << "in the oven at a time: " << (most.load() <= 2 ? "never more than 2" : "too many")
            << '\n';

  const auto peels = manager.bounded_semaphore(1);
  peels.acquire();
  peels.release();
  try {
    peels.release();
  } catch (const std::logic_error& error) {
    std::cout << "a peel too many: " << error.what() << '\n';
  }
}

// Event, Condition, Barrier
void work_together(const kin::Manager& manager) {
  const auto oven_is_hot = manager.event();
  const auto condition = manager.condition();  // has a lock of its own
  const auto dough = manager.list<int>();
  const auto log = manager.list<std::string>();
  const auto note = [](const kin::managed::List<std::string>& lines) {
    lines.append("all are done");
  };
  // The server calls it when the last baker is there, before anybody goes on.
  const auto round = manager.barrier(bakers, kin::partial(note, log));

  kin::Process oven([=] {
    condition.lock();
    condition.wait([&] { return dough.size() == bakers; });
    condition.unlock();
    log.append("the oven is hot");
    oven_is_hot.set();
  });
  oven.start();
  by_all([=](int baker) {
    {
      const std::scoped_lock guard(condition);
      dough.append(baker);
      condition.notify_one();
    }
    oven_is_hot.wait();
    for (int i = 0; i < 2; ++i) {
      log.append("a loaf");
      round.wait();
    }
  });
  oven.join();
  for (const std::string& line : log) std::cout << "  " << line << '\n';
}

}  // namespace

int main() {
  const kin::Manager manager;
  keep_books(manager);
  take_orders(manager);
  count_the_till(manager);
  use_the_oven(manager);
  work_together(manager);
}
