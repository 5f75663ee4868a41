// SPDX-License-Identifier: BSL-1.0
//
// demo: a cook hands dishes over to waiters; a bell that rang too early, and a waiter who is killed
//
// A condition is a bell: it wakes those who wait, and is forgotten at once. What they wait for stands
// elsewhere, guarded by a lock; so one looks there first, and again after each ring.

#include <kin/kin.hpp>

#include <chrono>
#include <iostream>
#include <mutex>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int waiters = 3;
constexpr int all_dishes = 30;
constexpr int room = 4;

struct Dishes {
  int ready = 0;
  int served = 0;
  bool are_all = false;  // there will be no more
};

// Where the dishes stand. `dishes` is used with the lock held.
struct Counter {
  kin::Lock lock;
  kin::Condition dish_there;
  kin::Condition room_there;
  kin::RawValue<Dishes> dishes{Dishes{}};

  void put_dish() const {
    const std::scoped_lock guard(lock);
    room_there.wait(lock, [&] { return dishes->ready < room; });
    ++dishes->ready;
    dish_there.notify_one();
  }
  // False when there will be no more.
  [[nodiscard]] bool take_dish() const {
    const std::scoped_lock guard(lock);
    dish_there.wait(lock, [&] { return dishes->ready > 0 || dishes->are_all; });
    if (dishes->ready == 0) return false;
    --dishes->ready;
    ++dishes->served;
    room_there.notify_one();
    return true;
  }
  void close() const {
    const std::scoped_lock guard(lock);
    dishes->are_all = true;
    dish_there.notify_all();  // it concerns them all
  }
};

// ---- the bell that rang too early

void ring_too_early() {
  const Counter counter;
  kin::Process cook([counter] { counter.put_dish(); });
  cook.start();
  cook.join();  // the dish stands there, and the bell has rung

  std::cout << "wrong: a waiter who listens for the bell, and does not look\n";
  {
    const std::scoped_lock guard(counter.lock);
    // Without a time limit it would hang here.
    const bool rang = counter.dish_there.wait_for(counter.lock, 300ms);
    std::cout << (rang ? "  it rang\n" : "  it still waits, and the dish is getting cold\n");
  }
  std::cout << "right: who looks first\n";
  if (counter.take_dish()) std::cout << "  the waiter has taken the dish\n";
}

// ---- a cook and several waiters

void hand_over() {
  std::cout << "a cook, and " << waiters << " waiters, with room for " << room << " dishes\n";
  const Counter counter;
  std::vector<kin::Process> processes;
  for (int i = 0; i < waiters; ++i) {
    processes
        .emplace_back([counter] {
          while (counter.take_dish()) {
          }
        })
        .start();
  }
  for (int i = 0; i < all_dishes; ++i) counter.put_dish();
  counter.close();
  for (kin::Process& process : processes) process.join();
  std::cout << "  " << counter.dishes->served << " of " << all_dishes << " were served, "
            << counter.dishes->ready << " are left\n";
}

// ---- a waiter is killed

void a_waiter_is_killed() {
  std::cout << "two wait, and the one who has waited longest is killed\n";
  const Counter counter;
  const kin::Semaphore waits(0);
  const kin::Queue<std::string> told;
  const auto wait = [=](const std::string& name) {
    const std::scoped_lock guard(counter.lock);
    waits.release();  // and nobody has the lock before it waits
    counter.dish_there.wait(counter.lock, [&] { return counter.dishes->ready > 0; });
    --counter.dishes->ready;
    told.put(name);
  };
  kin::Process first(wait, "the first");
  kin::Process second(wait, "the second");
  first.start();
  waits.acquire();
  second.start();
  waits.acquire();
  {
    const std::scoped_lock guard(counter.lock);  // now both wait
  }
  first.kill();
  first.join();
  counter.put_dish();  // rings once, for who has waited longest
  std::cout << "  the bell rang once; the dish has " << told.get() << '\n';
  second.join();
}

}  // namespace

int main() {
  ring_too_early();
  hand_over();
  a_waiter_is_killed();
}
