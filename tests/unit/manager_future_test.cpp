// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"
#include "manager/server.hpp"
#include "support/no_more_threads.hpp"

#include <kin/error.hpp>
#include <kin/future.hpp>
#include <kin/manager.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

int count_up(int& it) { return ++it; }

// Until somebody puts something into the queue; then objects that were dropped end.
void hold_up_and_look(int& /*it*/, const kin::Queue<int>& begun, const kin::Queue<int>& go_on) {
  begun.put(1);
  static_cast<void>(go_on.get());
  static_cast<void>(kin::detail::Server::here().statistics());
}

void count_up_there(int& /*it*/, const kin::Proxy<int>& other) { other.apply(count_up); }

// Until somebody puts something into the queue, the server does nothing else.
void hold_up(int& /*it*/, const kin::Queue<int>& begun, const kin::Queue<int>& go_on) {
  begun.put(1);
  static_cast<void>(go_on.get());
}

}  // namespace

TEST_SUITE("manager future") {
  using namespace unit;

  TEST_CASE("a call is answered when somebody asks") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    std::vector<kin::Future<int>> futures;
    for (int i = 0; i < 300; ++i) futures.push_back(number.apply_async(count_up));
    for (int i = 0; i < 300; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i + 1);
    const auto text = manager.make<std::string>(std::size_t{1000}, 'x');
    CHECK(text.call_async(&std::string::size).get() == 1000);
    CHECK(text.apply_async([](std::string& it) { return it; }).get() == text.copy());
    CHECK_THROWS_AS(number.apply_async([](int& /*it*/) { throw std::range_error("no"); }).get(),
                    std::range_error);
    // Let go of before they are over.
    for (int i = 0; i < 300; ++i) static_cast<void>(number.apply_async(count_up));
    CHECK(number.copy() == 600);
    CHECK(manager.statistics().clients == 1);
  }

  TEST_CASE("a call that has not begun can be cancelled") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const kin::Queue<int> begun;
    const kin::Queue<int> go_on;
    const auto busy = number.apply_async(hold_up, begun, go_on);
    static_cast<void>(begun.get());
    const auto later = number.apply_async(count_up);
    CHECK(busy.running());
    CHECK_FALSE(busy.cancel());
    CHECK_FALSE(later.wait_for(1ms));
    CHECK(later.cancel());
    CHECK(later.cancelled());
    CHECK_THROWS_AS(static_cast<void>(later.get()), kin::CancelledError);
    go_on.put(1);
    busy.get();
    CHECK(number.copy() == 0);
  }

  TEST_CASE("who wants to be called is called") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const kin::Queue<int> begun;
    const kin::Queue<int> go_on;
    std::atomic<int> calls{0};
    const auto busy = number.apply_async(hold_up, begun, go_on);
    static_cast<void>(begun.get());
    const auto later = number.apply_async(count_up);
    later.add_done_callback([&](const kin::Future<int>& done) { calls += done.get(); });
    busy.add_done_callback([&](const kin::Future<void>& /*done*/) { calls += 10; });
    CHECK(calls == 0);
    go_on.put(1);
    CHECK(eventually([&] { return calls == 11; }));
    later.add_done_callback([&](const kin::Future<int>& /*done*/) { calls += 100; });
    CHECK(eventually([&] { return calls == 111; }));
  }

  // Fails when a call that ends between two looks of the thread that calls is taken for one that was called.
  TEST_CASE("who is called while more calls end is not forgotten") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    constexpr int calls = 20'000;
    std::atomic<int> called{0};
    for (int i = 0; i < calls; ++i) {
      const auto future = number.apply_async(count_up);
      future.add_done_callback([&](const kin::Future<int>& done) { called += done.get() > 0; });
    }
    CHECK(eventually([&] { return called == calls; }));
    CHECK(number.copy() == calls);
  }

  // Fails when the thread is made without the lock: one that is added meanwhile is forgotten when it can't be.
  TEST_CASE("who is not told that there is no thread is called") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const kin::Queue<int> begun;
    const kin::Queue<int> go_on;
    const auto busy = number.apply_async(hold_up, begun, go_on);
    static_cast<void>(begun.get());
    const auto later = number.apply_async(count_up);
    constexpr int askers = 4;
    constexpr int tries = 2000;
    std::atomic<int> taken{0};
    std::atomic<int> refused{0};
    std::atomic<int> called{0};
    std::latch all_are_there(askers + 1);
    const auto ask = [&] {
      all_are_there.arrive_and_wait();
      for (int i = 0; i < tries; ++i) {
        try {
          later.add_done_callback([&](const kin::Future<int>& /*done*/) { ++called; });
          ++taken;
        } catch (const kin::SystemError&) {
          ++refused;
        }
      }
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < askers; ++i) threads.emplace_back(ask);
    {
      const support::NoMoreThreads none;
      all_are_there.arrive_and_wait();
      threads.clear();
    }
    CHECK(refused == askers * tries);
    CHECK(taken == 0);
    later.add_done_callback([&](const kin::Future<int>& /*done*/) { called += 10; });
    go_on.put(1);
    CHECK(eventually([&] { return called == 10; }));
  }

  // Fails when the object of a call ends as soon as nobody but that call refers to it.
  TEST_CASE("a call is made though nobody refers to its object any more, nor asks for the result") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const kin::Queue<int> begun;
    const kin::Queue<int> go_on;
    for (int round = 1; round <= 20; ++round) {
      auto other = manager.make<int>(0);
      const auto busy = number.apply_async(hold_up_and_look, begun, go_on);
      static_cast<void>(begun.get());
      static_cast<void>(other.apply_async(count_up_there, number));
      other = {};
      go_on.put(1);
      busy.get();
      CHECK(number.copy() == round);
      CHECK(manager.statistics().objects == 1);
    }
  }

  TEST_CASE("when the server dies a call says so") {
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const kin::Queue<int> begun;
    const kin::Queue<int> go_on;
    std::atomic<int> calls{0};
    const auto busy = number.apply_async(hold_up, begun, go_on);
    static_cast<void>(begun.get());
    const auto later = number.apply_async(count_up);
    later.add_done_callback([&](const kin::Future<int>& /*done*/) { ++calls; });
    manager.process().kill();
    CHECK_THROWS_AS(busy.get(), kin::ManagerDied);
    CHECK_THROWS_AS(static_cast<void>(later.get()), kin::ManagerDied);
    CHECK(eventually([&] { return calls == 1; }));
  }
}
