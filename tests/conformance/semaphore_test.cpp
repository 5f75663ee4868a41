// SPDX-License-Identifier: BSL-1.0
//
// Semaphore and BoundedSemaphore, against CPython's _TestSemaphore, and the manager's.
//
// Fails when:
//   take_from_number() takes what is not there: test_semaphore, test_bounded_semaphore, test_timeout
//   release_word() gives back no other's permit: test_bounded_semaphore
//   take_from_the_dead() does nothing: test_semaphore_of_the_dead
//   SemaphoreStore::acquire() takes what is not there: test_semaphore of the manager

#include "makers.hpp"

#include <mutex>

#include <csignal>
#include <unistd.h>

using namespace trial;

namespace {

// Two permits are taken and given back; what a third asks for in between.
template <typename Any>
void expect_two_permits(const Any& semaphore) {
  expect(semaphore.value() == 2);
  expect(semaphore.try_acquire());
  expect(semaphore.value() == 1);
  semaphore.acquire();
  expect(semaphore.value() == 0);
  expect(!semaphore.try_acquire());
  expect(semaphore.value() == 0);
  semaphore.release();
  expect(semaphore.value() == 1);
  semaphore.release();
  expect(semaphore.value() == 2);
}

// The same by two: one takes them, the other sees it and gives them back in its place.
template <typename Any>
void expect_two_permits_between(Kind kind, const Any& semaphore) {
  semaphore.acquire();
  semaphore.acquire();
  CHECK(Companion(kind, [semaphore] {
          expect(semaphore.value() == 0);
          expect(!semaphore.try_acquire());
          semaphore.release();
        }).ends_well());
  CHECK(semaphore.value() == 1);
  CHECK(Companion(kind, [semaphore] { semaphore.release(); }).ends_well());
  CHECK(semaphore.value() == 2);
}

template <typename Any>
void expect_a_semaphore(Kind kind, const Any& semaphore) {
  expect_two_permits(semaphore);
  CHECK(Companion(kind, [semaphore] { expect_two_permits(semaphore); }).ends_well());
  CHECK(semaphore.value() == 2);
  expect_two_permits_between(kind, semaphore);
}

// As much as is asked for above the initial value.
template <typename Any>
void expect_it_grows(Kind kind, const Any& semaphore) {
  semaphore.release();
  CHECK(semaphore.value() == 3);
  CHECK(Companion(kind, [semaphore] { semaphore.release(); }).ends_well());
  CHECK(semaphore.value() == 4);
  for (int i = 0; i < 4; ++i) CHECK(semaphore.try_acquire());
  CHECK_FALSE(semaphore.try_acquire());
}

template <typename Any>
void expect_time_limits(const Any& semaphore) {
  expect(!semaphore.try_acquire());
  expect(!semaphore.try_acquire_for(0s));
  expect(!semaphore.try_acquire_for(-1s));
  const auto start = std::chrono::steady_clock::now();
  expect(!semaphore.try_acquire_for(50ms));
  expect(std::chrono::steady_clock::now() - start >= 50ms);
  const auto moment = std::chrono::steady_clock::now() + 30ms;
  expect(!semaphore.try_acquire_until(moment));
  expect(std::chrono::steady_clock::now() >= moment);
}

}  // namespace

TEST_SUITE("semaphore") {
  TEST_CASE_TEMPLATE("test_semaphore", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto semaphore = maker.semaphore(2);
    expect_a_semaphore(kind, semaphore);
    expect_it_grows(kind, semaphore);
  }

  // More than Python asks of it: it has bounds.
  TEST_CASE_TEMPLATE("test_bounded_semaphore", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto semaphore = maker.bounded_semaphore(2);
    expect_a_semaphore(kind, semaphore);
    CHECK_THROWS_AS(semaphore.release(), std::logic_error);
    CHECK(semaphore.value() == 2);
    {
      const std::scoped_lock guard(semaphore);
      const std::unique_lock one_more(semaphore, patience);
      CHECK(one_more.owns_lock());
      CHECK(semaphore.value() == 0);
    }
    CHECK(semaphore.value() == 2);
  }

  // Whatever becomes of what the dead held, it is a semaphore for the living.
  TEST_CASE_FIXTURE(Trial, "test_semaphore_on_death") {
    const Kind kind = each_kind();
    const kin::Semaphore gives_back({.on_death = kin::OnDeath::give_back}, 2);
    expect_a_semaphore(kind, gives_back);
    expect_it_grows(kind, gives_back);
    const kin::BoundedSemaphore keeps({.on_death = kin::OnDeath::keep}, 2);
    expect_a_semaphore(kind, keeps);
    CHECK_THROWS_AS(keeps.release(), std::logic_error);
    CHECK(keeps.value() == 2);
  }

  TEST_CASE_TEMPLATE("test_timeout", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Maker maker;
    const auto semaphore = maker.semaphore(0);
    expect_time_limits(semaphore);
    CHECK(outcome([semaphore] { expect_time_limits(semaphore); }) == 0);
    const auto taken = maker.bounded_semaphore(1);
    taken.acquire();
    expect_time_limits(taken);
    CHECK(outcome([taken] { expect_time_limits(taken); }) == 0);
  }

  // Better than Python's: one whose holder was killed goes on working. A bounded one has the permit
  // back; of another somebody else can release it.
  TEST_CASE_FIXTURE(Trial, "test_semaphore_of_the_dead") {
    kin::set_log_level(kin::LogLevel::error);
    const kin::BoundedSemaphore bounded(1);
    const kin::Semaphore unbounded(1);
    const kin::Queue<bool> taken;
    kin::Process holder([=] {
      bounded.acquire();
      unbounded.acquire();
      taken.put(true);
      while (true) ::pause();
    });
    holder.start();
    CHECK(taken.get_for(patience) == true);
    kin::Process waiter([=] { expect(bounded.try_acquire_for(patience)); });
    waiter.start();
    CHECK_FALSE(bounded.try_acquire());
    holder.kill();
    CHECK(end_of(holder) == -SIGKILL);
    CHECK(end_of(waiter) == 0);
    CHECK(bounded.try_acquire_for(patience));
    CHECK(unbounded.value() == 0);
    unbounded.release();
    CHECK(unbounded.try_acquire());
    kin::set_log_level(kin::LogLevel::warning);
  }
}
