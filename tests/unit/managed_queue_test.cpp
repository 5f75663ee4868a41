// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

template <typename Queue>
std::vector<int> drain(const Queue& queue) {
  std::vector<int> items;
  while (const auto item = queue.try_get()) items.push_back(*item);
  return items;
}

/// Its reading takes for ever, where somebody wants that.
struct Slow {
  static inline bool is_slow = false;
  int value = 0;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& value;
    while (Archive::is_loading::value && is_slow) ::pause();
  }
};

/// Can't be written, where somebody wants that.
struct Shy {
  static inline bool is_shy = false;
  int value = 0;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    if (Archive::is_saving::value && is_shy) throw std::range_error("not now");
    archive& value;
  }
};

}  // namespace

TEST_SUITE("managed queue") {
  using namespace unit;

  TEST_CASE("each gives in its order") {
    const Frame frame;
    const kin::Manager manager;
    const auto first_in = manager.queue<int>();
    const auto last_in = manager.lifo_queue<int>();
    const auto smallest = manager.priority_queue<int>();
    for (const int item : {3, 1, 2}) {
      first_in.put(item);
      last_in.put(item);
      smallest.put(item);
    }
    CHECK(first_in.size() == 3);
    CHECK(drain(first_in) == std::vector{3, 1, 2});
    CHECK(drain(last_in) == std::vector{2, 1, 3});
    CHECK(drain(smallest) == std::vector{1, 2, 3});
    CHECK(first_in.empty());
  }

  TEST_CASE("who waits for an item gets it") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.queue<std::string>();
    Relative taker([queue] { return queue.get(); });
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    const std::string item(900, 'x');
    queue.put(item);
    CHECK(taker.answer() == item);
    CHECK(manager.statistics().parked == 0);
    CHECK_FALSE(queue.try_get());
    CHECK_FALSE(queue.get_for(1ms));
    CHECK(manager.statistics().parked == 0);
  }

  TEST_CASE("who waits for room puts when there is some") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.queue<int>(2);
    CHECK(queue.try_put(1));
    queue.put(2);
    CHECK(queue.full());
    CHECK_FALSE(queue.try_put(3));
    CHECK_FALSE(queue.put_for(3, 1ms));
    Relative putter([queue] {
      queue.put(4);
      return "put";
    });
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    CHECK(queue.get() == 1);
    CHECK(putter.answer() == "put");
    CHECK(drain(queue) == std::vector{2, 4});
  }

  TEST_CASE("many wait, and each gets what is one's own") {
    const Frame frame;
    constexpr int takers = 6;
    constexpr int rounds = 200;
    const kin::Manager manager;
    const auto queue = manager.queue<int>();
    std::vector<std::thread> threads;
    std::vector<std::vector<int>> taken(takers);
    for (auto& own : taken) {
      threads.emplace_back([&] {
        for (int i = 0; i < rounds; ++i) own.push_back(queue.get());
      });
    }
    for (int i = 0; i < takers * rounds; ++i) queue.put(i);
    for (std::thread& thread : threads) thread.join();
    std::set<int> all;
    for (const auto& own : taken) {
      CHECK(std::is_sorted(own.begin(), own.end()));
      all.insert(own.begin(), own.end());
    }
    CHECK(all.size() == takers * rounds);
  }

  TEST_CASE("a queue that is shut down gives what it has") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.queue<int>();
    queue.put(1);
    queue.shutdown();
    CHECK_THROWS_AS(queue.put(2), kin::QueueShutDown);
    CHECK(queue.get() == 1);
    CHECK_THROWS_AS(queue.get(), kin::QueueShutDown);
    const auto other = manager.queue<int>();
    Relative taker([other] {
      try {
        return std::to_string(other.get());
      } catch (const kin::QueueShutDown&) {
        return std::string("told");
      }
    });
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    other.shutdown();
    CHECK(taker.answer() == "told");
  }

  TEST_CASE("a joinable queue knows what is done") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.joinable_queue<int>();
    queue.join();
    queue.put(1);
    queue.put(2);
    CHECK_FALSE(queue.join_for(1ms));
    CHECK(queue.get() == 1);
    CHECK_FALSE(queue.join_for(1ms));
    queue.task_done();
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
    CHECK(queue.get() == 2);
    queue.task_done();
    queue.join();
    queue.put(3);
    CHECK(answer_of([queue] { return std::to_string(queue.get()); }) == "3");
    CHECK_THROWS_AS(queue.join(), kin::OwnerDied);
    queue.join();
  }

  TEST_CASE("a taker that dies while it waits takes nothing") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.queue<int>();
    {
      const Relative taker([queue] { return std::to_string(queue.get()); });
      CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    }
    queue.put(1);
    CHECK(queue.get() == 1);
    CHECK(manager.statistics().parked == 0);
  }

  TEST_CASE("what a taker did not come to read is put back, in front") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.joinable_queue<Slow>();
    for (const bool waits : {false, true}) {
      if (!waits) queue.put(Slow{1});
      Relative taker([queue] {
        Slow::is_slow = true;
        return std::to_string(queue.get().value);
      });
      if (waits) {
        CHECK(eventually([&] { return manager.statistics().parked == 1; }));
        queue.put(Slow{1});
      }
      CHECK(eventually([&] { return queue.empty(); }));
      CHECK(taker.falls_asleep());
      queue.put(Slow{2});
      taker.end();
      CHECK(eventually([&] { return queue.size() == 2; }));
      CHECK(queue.get().value == 1);
      CHECK(queue.get().value == 2);
      queue.task_done();
      queue.task_done();
      queue.join();
    }
  }

  TEST_CASE("an item that can't be handed over stays") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.joinable_queue<Shy>();
    const auto number = manager.make<int>(0);
    queue.put(Shy{7});
    number.apply([](int& /*it*/) { Shy::is_shy = true; });
    CHECK_THROWS_AS(static_cast<void>(queue.get()), kin::SerializationError);
    CHECK(queue.size() == 1);
    number.apply([](int& /*it*/) { Shy::is_shy = false; });
    CHECK(queue.get().value == 7);
    queue.task_done();
    queue.join();
  }

  TEST_CASE("a queue in the server does not wait") {
    const Frame frame;
    const kin::Manager manager;
    const auto queue = manager.queue<int>();
    using Queue = kin::managed::Queue<int>;
    const auto holder = manager.make<Queue>(queue);
    CHECK_THROWS_AS(holder.apply([](Queue& it) { return it.get(); }), std::logic_error);
    CHECK_FALSE(holder.apply([](Queue& it) { return it.try_get(); }));
    Relative taker([queue] { return std::to_string(queue.get()); });
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    holder.apply([](Queue& it) { it.put(5); });
    CHECK(taker.answer() == "5");
  }

  TEST_CASE("when the server ends who waits is told") {
    const Frame frame;
    for (const bool is_killed : {false, true}) {
      kin::Manager manager;
      const auto queue = manager.queue<int>();
      Relative taker([queue] {
        try {
          return std::to_string(queue.get());
        } catch (const kin::ManagerDied&) {
          return std::string("told");
        }
      });
      CHECK(eventually([&] { return manager.statistics().parked == 1; }));
      if (is_killed) {
        manager.process().kill();
      } else {
        manager.shutdown();
      }
      CHECK(taker.answer() == "told");
    }
  }
}
