// SPDX-License-Identifier: BSL-1.0

// What Barrier promises beyond Python's: parties that die, actions that travel.

#include <kin/sync.hpp>

#include "frame.hpp"
#include "support/sweep.hpp"

#include <kin/detail/archive.hpp>
#include <kin/error.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/serialize.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include <unistd.h>

using kin::Barrier;
using kin::BrokenBarrierError;
using namespace std::chrono_literals;

namespace {

std::string pass(const Barrier& barrier) {
  try {
    return std::to_string(barrier.wait_for(unit::patience));
  } catch (const BrokenBarrierError& error) {
    return error.what();
  }
}

/// Goes on with another generation, that nobody has come to.
void go_to_generation(const Barrier& barrier, std::uint32_t generation) {
  kin::detail::OutArchive archive;
  kin::detail::encode(archive, barrier);
  auto* object =
      reinterpret_cast<std::byte*>(&archive.cargo().handles.front().object_even_closed());
  // The word that decides: the first of its line, behind those of the object and the lock.
  reinterpret_cast<std::atomic<std::uint64_t>*>(object + 192)->store(generation);
}

void release_one(const kin::Semaphore& semaphore) { semaphore.release(); }

}  // namespace

TEST_SUITE("barrier") {
  TEST_CASE("one party never waits, also as its action") {
    int called = 0;
    const Barrier barrier(1, [&] { return ++called; });
    for (int i = 0; i < 100; ++i) CHECK(barrier.wait() == 0);
    CHECK(called == 100);
    CHECK(barrier.n_waiting() == 0);
    CHECK(barrier.parties() == 1);
  }

  TEST_CASE("bad input is refused") {
    CHECK_THROWS_AS(Barrier(0), std::invalid_argument);
    CHECK_THROWS_AS(Barrier(-1), std::invalid_argument);
    CHECK_THROWS_AS(Barrier((1 << 20) + 1), std::invalid_argument);
    const Barrier none;
    CHECK_THROWS_AS(none.wait(), std::logic_error);
    CHECK_THROWS_AS(none.reset(), std::logic_error);
    const Barrier many(1 << 20);
    CHECK_THROWS_AS(many.wait_for(1ms), BrokenBarrierError);
  }

  TEST_CASE("a time limit breaks it, until reset()") {
    const Barrier barrier({.timeout = 1ms}, 2);
    try {
      barrier.wait();
      FAIL("it passed");
    } catch (const BrokenBarrierError& error) {
      const std::string text = error.what();
      CHECK(text.find("time limit, and 1 of 2 had arrived") != std::string::npos);
    }
    CHECK(barrier.broken());
    CHECK_THROWS_AS(barrier.wait_for(unit::patience), BrokenBarrierError);
    barrier.reset();
    CHECK_FALSE(barrier.broken());
    CHECK_THROWS_AS(barrier.wait(), BrokenBarrierError);
    barrier.reset();
    CHECK_THROWS_AS(barrier.wait_for(-1s), BrokenBarrierError);
  }

  TEST_CASE("what broke it is told to all") {
    const unit::Frame frame;
    const Barrier barrier(3);
    const auto start = [&](std::deque<unit::Relative>& waiters) {
      for (int i = 0; i < 2; ++i) waiters.emplace_back([&] { return pass(barrier); });
      REQUIRE(unit::eventually([&] { return barrier.n_waiting() == 2; }));
    };
    const std::string me = "process " + std::to_string(::getpid());
    std::deque<unit::Relative> waiters;
    start(waiters);
    barrier.abort();
    for (auto& waiter : waiters)
      CHECK(waiter.answer().find(me + " called abort()") != std::string::npos);
    CHECK(pass(barrier).find(me + " called abort()") != std::string::npos);
    barrier.reset();

    waiters.clear();
    start(waiters);
    barrier.reset();
    for (auto& waiter : waiters)
      CHECK(waiter.answer().find(me + " called reset()") != std::string::npos);
    CHECK_FALSE(barrier.broken());
    CHECK(barrier.n_waiting() == 0);
  }

  TEST_CASE("an abort() is not lost to a pass at the same moment") {
    const unit::Frame frame;
    for (int i = 0; i < 200; ++i) {
      const Barrier barrier(1);
      const kin::Event passes;
      unit::Relative party([&]() -> std::string {
        try {
          while (true) {
            barrier.wait();
            passes.set();
          }
        } catch (const BrokenBarrierError&) {
          return "told";
        }
      });
      REQUIRE(passes.wait_for(unit::patience));
      barrier.abort();
      REQUIRE(barrier.broken());
      CHECK(party.answer() == "told");
    }
  }

  TEST_CASE("one that had arrived is killed: the others are told") {
    const unit::Frame frame;
    const Barrier barrier(3);
    std::deque<unit::Relative> waiters;
    for (int i = 0; i < 2; ++i) waiters.emplace_back([&] { return pass(barrier); });
    REQUIRE(unit::eventually([&] { return barrier.n_waiting() == 2; }));
    const std::string dead = "process " + std::to_string(waiters[0].pid());
    waiters[0].end();
    const std::string told = waiters[1].answer();
    CHECK(told.find("the barrier is broken: ") == 0);
    CHECK(told.find("died") != std::string::npos);
    CHECK(barrier.broken());
    barrier.reset();
    waiters.clear();
    for (int i = 0; i < 3; ++i) waiters.emplace_back([&] { return pass(barrier); });
    for (auto& waiter : waiters) CHECK(waiter.answer().size() == 1);
  }

  TEST_CASE("one that passed and was killed, or failed, will not come again") {
    const unit::Frame frame;
    for (const int end : {SIGKILL, 0, 3}) {
      CAPTURE(end);
      const Barrier barrier(2);
      kin::Process party([&] {
        barrier.wait();
        if (end == SIGKILL) static_cast<void>(std::raise(SIGKILL));
        ::exit(end);
      });
      party.start();
      barrier.wait();
      party.join();
      if (end == 0) {
        // It was done with the barrier; the next one takes its place.
        unit::Relative other([&] { return pass(barrier); });
        CHECK(pass(barrier).size() == 1);
        CHECK(other.answer().size() == 1);
      } else {
        CHECK(pass(barrier).find("died") != std::string::npos);
      }
    }
  }

  TEST_CASE(
      "one that passed and ended: how is known when another has its place among the processes") {
    const unit::Frame frame;
    support::sweep_the_dead();  // so that the lowest free place stays the same
    for (const bool is_killed : {true, false}) {
      CAPTURE(is_killed);
      const Barrier barrier(2);
      unit::Relative party([&] {
        barrier.wait();
        if (is_killed) static_cast<void>(std::raise(SIGKILL));
        kin::detail::leave_exit_code(0);
        return "";
      });
      REQUIRE(unit::eventually([&] { return party.stamp() != 0; }));
      const auto place = kin::detail::slot_of(party.stamp());
      barrier.wait();
      CHECK((party.answer() == "") == !is_killed);
      const kin::Event over;
      unit::Relative next([&] {
        over.wait();
        return "";
      });
      REQUIRE(unit::eventually([&] { return next.stamp() != 0; }));
      REQUIRE(kin::detail::slot_of(next.stamp()) == place);
      if (is_killed) {
        CHECK(pass(barrier).find("died") != std::string::npos);
      } else {
        // It looks for the dead meanwhile.
        CHECK_THROWS_AS(barrier.wait_for(600ms), BrokenBarrierError);
        CHECK(pass(barrier).find("its time limit") != std::string::npos);
      }
      over.set();
      CHECK(next.answer() == "");
    }
  }

  TEST_CASE("one that had arrived is killed: who gets its place among the processes is told") {
    const unit::Frame frame;
    const Barrier barrier(3);
    {
      unit::Relative party([&] { return pass(barrier); });
      REQUIRE(unit::eventually([&] { return barrier.n_waiting() == 1; }));
      party.end();
    }
    unit::Relative next([&] { return pass(barrier); });
    CHECK(next.answer().find("died") != std::string::npos);
    // One that was killed behind a pass had left nobody waiting.
    const Barrier alone(1);
    for (int i = 0; i < 2; ++i) {
      unit::Relative passing([&] { return pass(alone) + pass(alone); });
      CHECK(passing.answer() == "00");
      passing.end();
    }
  }

  TEST_CASE("generations are counted in 32 bits: who came long ago is forgotten") {
    const unit::Frame frame;
    const Barrier barrier(2);
    const kin::Event again;
    const kin::Event in_the_end;
    kin::Process later([&] {
      again.wait();
      barrier.wait();
      in_the_end.wait();
      const kin::Event never;
      static_cast<void>(never.wait_for(600ms));  // the other looks for the dead
      barrier.wait();
    });
    later.start();
    kin::Process killed([&] {
      barrier.wait();
      static_cast<void>(std::raise(SIGKILL));
    });
    killed.start();
    CHECK(pass(barrier).size() == 1);
    killed.join();
    go_to_generation(barrier, 65536);
    again.set();
    CHECK(pass(barrier).size() == 1);
    go_to_generation(barrier, 1);  // the first of all
    in_the_end.set();
    CHECK(pass(barrier).size() == 1);
    later.join();
    CHECK(later.exit_code() == 0);
  }

  TEST_CASE("a stopped party is waited for") {
    const unit::Frame frame;
    const Barrier barrier(3);
    unit::Relative waiter([&] { return pass(barrier); });
    REQUIRE(unit::eventually([&] { return barrier.n_waiting() == 1; }));
    ::kill(waiter.pid(), SIGSTOP);
    unit::Relative other([&] { return pass(barrier); });
    REQUIRE(other.falls_asleep());
    kin::Event never;
    CHECK_FALSE(never.wait_for(600ms));
    CHECK_FALSE(barrier.broken());
    CHECK(pass(barrier) == "2");
    ::kill(waiter.pid(), SIGCONT);
    CHECK(waiter.answer().size() == 1);
    CHECK(other.answer().size() == 1);
  }

  TEST_CASE("an action that throws, or is killed, breaks it") {
    const unit::Frame frame;
    const Barrier throws(2, [] { throw std::runtime_error("no"); });
    unit::Relative one([&] { return pass(throws); });
    REQUIRE(unit::eventually([&] { return throws.n_waiting() == 1; }));
    CHECK_THROWS_WITH_AS(throws.wait(), "no", std::runtime_error);
    CHECK(one.answer().find("the action threw") != std::string::npos);
    CHECK(throws.broken());

    const Barrier dies(2, [] { static_cast<void>(std::raise(SIGKILL)); });
    unit::Relative waiter([&] { return pass(dies); });
    REQUIRE(unit::eventually([&] { return dies.n_waiting() == 1; }));
    unit::Relative last([&] { return pass(dies); });
    CHECK(waiter.answer().find("died") != std::string::npos);
  }

  TEST_CASE("it travels in messages, with its action") {
    const unit::Frame frame;
    const kin::Semaphore called(0);
    const kin::Queue<Barrier> queue;
    const Barrier barrier(2, kin::partial(release_one, called));
    unit::Relative other([&] { return pass(queue.get()); });
    queue.put(barrier);
    CHECK(pass(barrier).size() == 1);
    CHECK(other.answer().size() == 1);
    CHECK(called.value() == 1);

    const std::function<void()> hides = [] {};
    CHECK_THROWS_AS(queue.put(Barrier(2, hides)), kin::SerializationError);
    int local = 0;
    CHECK_THROWS_AS(queue.put(Barrier(2, [&local] { ++local; })), std::invalid_argument);
  }

  TEST_CASE("more processes than parties: each pass takes as many as it needs") {
    const unit::Frame frame;
    const Barrier barrier(3);
    std::deque<unit::Relative> waiters;
    for (int i = 0; i < 9; ++i) waiters.emplace_back([&] { return pass(barrier); });
    int zeros = 0;
    for (auto& waiter : waiters) zeros += waiter.answer() == "0" ? 1 : 0;
    CHECK(zeros == 3);
  }
}
