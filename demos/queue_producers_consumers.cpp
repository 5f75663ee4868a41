// SPDX-License-Identifier: BSL-1.0
//
// demo: several producers and consumers on one queue, and three ways to know that all is done
//
//   1. shutdown():    the queue itself says that nothing more will come.
//   2. sentinels:     a special item for each consumer says so; as in languages without shutdown().
//   3. JoinableQueue: consumers say what they have finished, and join() waits for the rest of it.

#include <kin/kin.hpp>

#include <iostream>
#include <optional>
#include <string>
#include <vector>

namespace {

constexpr int producers = 2;
constexpr int consumers = 3;
constexpr int buns = 100;  // of each producer
constexpr int all_buns = producers * buns;

using Processes = std::vector<kin::Process>;

void join_all(Processes& processes) {
  for (kin::Process& process : processes) process.join();
}

// How many buns were eaten, and their numbers added up: that shows that each was eaten once.
struct Meal {
  int count = 0;
  int sum = 0;
};

constexpr int right_sum = producers * (buns * (buns - 1) / 2);

void print(const std::string& way, const kin::Queue<Meal>& meals) {
  Meal together;
  for (int i = 0; i < consumers; ++i) {
    const Meal meal = meals.get();
    together.count += meal.count;
    together.sum += meal.sum;
  }
  std::cout << way << ": " << consumers << " consumers ate " << together.count << " of " << all_buns
            << " buns, " << (together.sum == right_sum ? "each once" : "and something is wrong")
            << '\n';
}

// ---- 1

void bake(const kin::Queue<int>& queue) {
  for (int bun = 0; bun < buns; ++bun) queue.put(bun);  // waits while the queue is full
}

void eat(const kin::Queue<int>& queue, const kin::Queue<Meal>& meals) {
  Meal meal;
  for (const int bun : queue) {  // ends when the queue is shut down and empty
    ++meal.count;
    meal.sum += bun;
  }
  meals.put(meal);
}

void end_by_shutdown() {
  const kin::Queue<int> queue(10);
  const kin::Queue<Meal> meals;
  Processes baking;
  Processes eating;
  for (int i = 0; i < producers; ++i) baking.emplace_back(bake, queue).start();
  for (int i = 0; i < consumers; ++i) eating.emplace_back(eat, queue, meals).start();

  join_all(baking);
  queue.shutdown();
  join_all(eating);
  print("shutdown", meals);

  try {
    queue.put(1);
  } catch (const kin::QueueShutDown&) {
    std::cout << "shutdown: a late bun is refused, it can't get lost\n";
  }
}

// ---- 2

using Bun = std::optional<int>;  // none: the sentinel

void eat_until_sentinel(const kin::Queue<Bun>& queue, const kin::Queue<Meal>& meals) {
  Meal meal;
  while (const Bun bun = queue.get()) {
    ++meal.count;
    meal.sum += *bun;
  }
  meals.put(meal);
}

void end_by_sentinels() {
  const kin::Queue<Bun> queue;
  const kin::Queue<Meal> meals;
  Processes baking;
  Processes eating;
  for (int i = 0; i < producers; ++i) {
    baking
        .emplace_back([queue] {
          for (int bun = 0; bun < buns; ++bun) queue.put(bun);
        })
        .start();
  }
  for (int i = 0; i < consumers; ++i) eating.emplace_back(eat_until_sentinel, queue, meals).start();

  join_all(baking);
  // One for each, since who has found one stops and takes no other. Nobody may forget how many there are,
  // and a consumer that was killed leaves its own behind; shutdown() has no such worries.
  for (int i = 0; i < consumers; ++i) queue.put(std::nullopt);
  join_all(eating);
  print("sentinels", meals);
}

// ---- 3

void wait_until_all_is_done() {
  const kin::JoinableQueue<int> queue;
  Processes eating;
  for (int i = 0; i < consumers; ++i) {
    // They wait for buns for ever; as daemons they end with their parent.
    eating
        .emplace_back(kin::ProcessOptions{.daemon = true},
                      [queue] {
                        while (true) {
                          const int bun = queue.get();
                          static_cast<void>(bun);  // eaten
                          queue.task_done();
                        }
                      })
        .start();
  }
  for (int bun = 0; bun < all_buns; ++bun) queue.put(bun);
  queue.join();
  std::cout << "JoinableQueue: all " << all_buns << " buns are eaten, and "
            << kin::active_children().size() << " consumers wait for more\n";
}

}  // namespace

int main() {
  end_by_shutdown();
  end_by_sentinels();
  wait_until_all_is_done();
}
