// SPDX-License-Identifier: BSL-1.0

// What Semaphore and BoundedSemaphore promise beyond Python's; and what becomes of the permits of the dead.

#include <kin/sync.hpp>

#include "frame.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <chrono>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

using kin::BoundedSemaphore;
using kin::OnDeath;
using kin::Semaphore;
using namespace std::chrono_literals;

namespace {

// Catches what is logged, for the length of a case.
class LogFrame : unit::Frame {
 public:
  LogFrame() {
    kin::set_log_sink([this](kin::LogLevel, std::string_view line) { lines.emplace_back(line); });
  }
  LogFrame(const LogFrame&) = delete;
  LogFrame& operator=(const LogFrame&) = delete;
  ~LogFrame() { kin::set_log_sink({}); }

  std::vector<std::string> lines;
};

// A process that takes so many permits and is killed with them.
template <typename Any>
pid_t die_with(const Any& semaphore, int permits) {
  kin::Process child([=] {
    for (int i = 0; i < permits; ++i) {
      if (!semaphore.try_acquire()) ::_exit(1);
    }
    static_cast<void>(std::raise(SIGKILL));
  });
  child.start();
  const pid_t pid = child.pid();
  child.join();
  REQUIRE(child.exit_code() == -SIGKILL);
  return pid;
}

}  // namespace

TEST_SUITE("semaphore") {
  TEST_CASE("permits are taken and given back, by whoever") {
    const unit::Frame frame;
    for (const OnDeath on_death : {OnDeath::keep, OnDeath::give_back}) {
      const Semaphore semaphore({.on_death = on_death}, 2);
      CHECK(semaphore.value() == 2);
      semaphore.acquire();
      CHECK(semaphore.try_acquire());
      CHECK_FALSE(semaphore.try_acquire());
      CHECK_FALSE(semaphore.try_acquire_for(1ms));
      CHECK_FALSE(semaphore.try_acquire_until(std::chrono::system_clock::now() + 1ms));
      CHECK(semaphore.value() == 0);
      CHECK(unit::answer_of([&] {
              semaphore.release();
              return "given back";
            }) == "given back");
      CHECK(semaphore.value() == 1);
      semaphore.release(4);
      CHECK(semaphore.value() == 5);
    }
  }

  TEST_CASE("a guard of the standard library holds a permit") {
    const BoundedSemaphore semaphore(1);
    {
      const std::scoped_lock guard(semaphore);
      CHECK(semaphore.value() == 0);
    }
    CHECK(semaphore.value() == 1);
    const std::unique_lock guard(semaphore, std::try_to_lock);
    CHECK(guard.owns_lock());
    const std::unique_lock for_a_moment(semaphore, 1ms);
    CHECK_FALSE(for_a_moment.owns_lock());
    const std::unique_lock until(semaphore, std::chrono::steady_clock::now() + 1ms);
    CHECK_FALSE(until.owns_lock());
  }

  TEST_CASE("a bounded one refuses what was not taken") {
    for (const OnDeath on_death : {OnDeath::keep, OnDeath::give_back}) {
      const BoundedSemaphore semaphore({.on_death = on_death}, 2);
      CHECK_THROWS_AS(semaphore.release(), std::logic_error);
      semaphore.acquire();
      semaphore.release();
      CHECK_THROWS_AS(semaphore.release(), std::logic_error);
      CHECK(semaphore.value() == 2);
      semaphore.acquire();
      CHECK_THROWS_AS(semaphore.release(2), std::logic_error);
      CHECK(semaphore.value() == 1);
    }
  }

  TEST_CASE("bad input is refused") {
    CHECK_THROWS_AS(Semaphore(-1), std::invalid_argument);
    CHECK_THROWS_AS(BoundedSemaphore(-1), std::invalid_argument);
    CHECK_THROWS_AS(BoundedSemaphore((1 << 20) + 1), std::invalid_argument);
    const Semaphore semaphore(0);
    CHECK_THROWS_AS(semaphore.release(0), std::invalid_argument);
    CHECK_THROWS_AS(semaphore.release(-1), std::invalid_argument);
    CHECK(semaphore.value() == 0);
    const Semaphore full(2147483647);
    CHECK_THROWS_AS(full.release(), std::overflow_error);
    CHECK(full.value() == 2147483647);
    Semaphore from(1);
    const Semaphore to = std::move(from);
    CHECK_THROWS_AS(from.acquire(), std::logic_error);  // NOLINT: moved from
    CHECK(to.try_acquire());
  }

  TEST_CASE("many permits, more than fit into one block") {
    const BoundedSemaphore semaphore(1000);
    CHECK(semaphore.value() == 1000);
    for (int i = 0; i < 1000; ++i) CHECK(semaphore.try_acquire());
    CHECK_FALSE(semaphore.try_acquire());
    for (int i = 0; i < 1000; ++i) semaphore.release();
    CHECK(semaphore.value() == 1000);
  }

  TEST_CASE("what a killed process held is free again, for who waits and for who tries") {
    LogFrame frame;
    const BoundedSemaphore semaphore(3);
    const pid_t pid = die_with(semaphore, 2);
    semaphore.acquire();
    CHECK(semaphore.try_acquire_for(10s));
    CHECK(semaphore.try_acquire());
    CHECK_FALSE(semaphore.try_acquire());
    REQUIRE(frame.lines.size() == 1);
    CHECK(frame.lines[0].find("2 permit(s)") != std::string::npos);
    CHECK(frame.lines[0].find("pid " + std::to_string(pid)) != std::string::npos);
    semaphore.release(3);

    CHECK(unit::eventually([&] { return semaphore.value() == 3; }));
    die_with(semaphore, 3);
    CHECK(unit::eventually([&] { return semaphore.try_acquire(); }));
    CHECK(semaphore.value() == 2);
  }

  TEST_CASE("a sleeper is woken by a death") {
    LogFrame frame;
    const Semaphore semaphore({.on_death = kin::give_back}, 1);
    const kin::Queue<bool> taken;
    kin::Process holder([=] {
      semaphore.acquire();
      taken.put(true);
      ::pause();
    });
    holder.start();
    REQUIRE(taken.get_for(30s));
    kin::Process waiter([=] {
      taken.put(true);
      semaphore.acquire();
    });
    waiter.start();
    REQUIRE(taken.get_for(30s));
    CHECK_FALSE(waiter.join_for(50ms));
    holder.kill();
    CHECK(waiter.join_for(30s));
    CHECK(waiter.exit_code() == 0);
    holder.join();
  }

  TEST_CASE("a stopped process keeps what it holds") {
    const unit::Frame frame;
    const BoundedSemaphore semaphore(1);
    const kin::Queue<bool> taken;
    kin::Process holder([=] {
      semaphore.acquire();
      taken.put(true);
      static_cast<void>(std::raise(SIGSTOP));
      semaphore.release();
    });
    holder.start();
    REQUIRE(taken.get_for(30s));
    CHECK_FALSE(semaphore.try_acquire_for(600ms));
    ::kill(holder.pid(), SIGCONT);
    CHECK(semaphore.try_acquire_for(30s));
    holder.join();
  }

  TEST_CASE("what stays taken stays taken") {
    const unit::Frame frame;
    const Semaphore semaphore(1);
    die_with(semaphore, 1);
    CHECK_FALSE(semaphore.try_acquire_for(300ms));
    semaphore.release();
    CHECK(semaphore.try_acquire());
  }

  TEST_CASE("in a release others' permits come after one's own") {
    const unit::Frame frame;
    const Semaphore semaphore({.on_death = kin::give_back}, 2);
    semaphore.acquire();
    const kin::Queue<bool> go_on;
    const kin::Queue<bool> done;
    kin::Process child([=] {
      semaphore.acquire();
      semaphore.release();
      done.put(true);
      static_cast<void>(go_on.get());
      semaphore.release();  // the parent's
      done.put(true);
      ::pause();
    });
    child.start();
    REQUIRE(done.get_for(30s));
    CHECK(semaphore.value() == 1);
    go_on.put(true);
    REQUIRE(done.get_for(30s));
    CHECK(semaphore.value() == 2);
    child.kill();
    child.join();
    CHECK(semaphore.try_acquire());
    CHECK(semaphore.try_acquire());
    CHECK_FALSE(semaphore.try_acquire_for(300ms));
  }

  TEST_CASE("it travels in messages") {
    const kin::Queue<Semaphore> queue;
    const Semaphore semaphore(0);
    kin::Process child([queue] {
      const Semaphore received = queue.get();
      received.release(3);
    });
    child.start();
    queue.put(semaphore);
    child.join();
    CHECK(semaphore.value() == 3);
    CHECK(semaphore == Semaphore(semaphore));
    CHECK_FALSE(semaphore == Semaphore(3));
  }
}
