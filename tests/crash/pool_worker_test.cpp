// SPDX-License-Identifier: BSL-1.0

// A pool's worker is killed, or stopped, at every instruction between looking for a task and having
// stored its result: at most the one task that it had fails, or runs again, and all others are done.

#include "crash/bare_pool.hpp"
#include "crash/prove.hpp"
#include "memory/arena.hpp"
#include "memory/descriptor_store.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <utility>

using crash::BarePool;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string all_done = "all done";
const std::string one_died = "one died";
const std::string ran_again = "one ran again";

/// The worker in seat 0 is killed; then the nursery settles it, and the others go on.
struct Death {
  BarePool::Wishes wishes;
  std::uint32_t count = 2;
  bool resumes = false;  // it begins with a task that one before it had
  crash::FreshPool pool = {};

  void prepare() {
    pool.prepare(count, wishes);
    if (resumes) pool->leave_to_next(0, 0);
    pool->close();
  }

  std::string outcome(const Moment& moment) {
    sweep_the_dead();
    pool->settle(0);
    const bool runs_again = pool->seat(0).resumes != 0;
    require(wishes.retries != 0 || !runs_again, "a task without retries is to run again");
    pool->work(0);  // the next one there
    pool->work(1);
    const std::uint32_t died = pool->require_documented().died;
    require(died <= (wishes.retries == 0 ? 1 : 0), "too many tasks died");
    require(died == 0 || !moment.completed, "the worker had done all, and a task died");
    if (wishes.is_observed) pool->require_notices();
    sweep_the_dead();
    if (runs_again) return ran_again;
    return died == 0 ? all_done : one_died;
  }

  crash::Scenario scenario(const std::string& name) {
    return {
        .name = name,
        .prepare = [this] { prepare(); },
        .operation = [this] { pool->work(0, count); },
        .check = [this](const Moment& moment) { return outcome(moment); },
        .expected = {all_done, wishes.retries == 0 ? one_died : ran_again},
        .watch = [this] { return pool->changes(); },
        .bulk = 64,
        .patience = 20s,
        .budget = 2s,
    };
  }
};

/// The whole way of two tasks, from looking for the first to having ended the second.
void prove_death(const std::string& name, Death death) {
  const crash::Balance balance;
  crash::prove_at_changes_and_instructions(death.scenario(name), 2s);
  death.pool.forget();
  CHECK_NOTHROW(balance.require_unchanged());
}

/// From where the result of the first task is given, the so many-th time, until the second task begins.
crash::Scenario behind_result(const std::string& name, Death& death, std::size_t gives) {
  crash::Scenario scenario = death.scenario(name);
  scenario.lead = {.word = [&] { return &death.pool->slot(0).result_length; },
                   .stores = gives,
                   .until = [&] { return death.pool->state(1) == BarePool::TaskState::running; }};
  scenario.budget = 3s;
  return scenario;
}

void prove_death_in_result(const std::string& name, Death death) {
  const crash::Balance balance;
  crash::prove(behind_result(name, death, 1));
  death.pool.forget();
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

TEST_SUITE("pool worker") {
  TEST_CASE("a worker is killed with small results") { prove_death("worker", {.wishes = {}}); }

  TEST_CASE("a worker is killed whose tasks may run again") {
    prove_death("worker with retries", {.wishes = {.retries = 1}});
  }

  TEST_CASE("a worker is killed that begins with what another left") {
    prove_death("worker that resumes", {.wishes = {}, .resumes = true});
    prove_death("worker that resumes, with retries", {.wishes = {.retries = 1}, .resumes = true});
  }

  TEST_CASE("a worker is killed whose tasks are observed") {
    prove_death("worker that sends notices", {.wishes = {.is_observed = true}});
  }

  TEST_CASE("a worker is killed with large results") {
    prove_death("worker with results of 1 KiB", {.wishes = {.size = 1024, .retries = 1}});
    prove_death_in_result("result of 40 KiB", {.wishes = {.size = 40960, .retries = 1}});
  }

  TEST_CASE("a worker is killed that reads a queue among its arguments") {
    prove_death("worker with a queue", {.wishes = {.retries = 1, .has_cargo = true}});
  }

  TEST_CASE("a worker is killed that finds no room for its result") {
    auto& capacity = kin::detail::arena().descriptors->capacity;
    const std::uint32_t usual = std::exchange(capacity, 0);
    Death death{.wishes = {.fails = true, .sends_descriptor = true}};
    const crash::Balance balance;
    // Where the result is given. A throw comes of it, of tens of thousands of instructions that change nothing: they
    // are gone through at each change, and only when all is.
    crash::Scenario scenario = behind_result("result with a descriptor too many", death, 1);
    if (std::getenv("KIN_CRASH_FULL") != nullptr) {
      scenario.expected = {all_done, one_died};
      scenario.at = crash::At::every_change;
      crash::prove(scenario);
    }
    scenario.expected = {one_died};
    scenario.at = crash::At::every_instruction;
    scenario.lead.until = {};
    scenario.lead.window = 1000;
    crash::prove(scenario);
    // And where the exception is given that says why.
    scenario = behind_result("exception in its place", death, 2);
    crash::prove(scenario);
    death.pool.forget();
    capacity = usual;
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a worker is killed that sends an exception") {
    prove_death_in_result("exception", {.wishes = {.retries = 1, .fails = true}});
  }

  TEST_CASE("a worker is idle, is woken and killed") {
    const crash::Balance balance;
    crash::FreshPool pool;
    crash::prove({
        .name = "worker that is woken",
        .prepare = [&] { pool.prepare(0); },
        .operation = [&] { pool->work(0, 1); },
        .check = [&](const Moment& moment) -> std::string {
          sweep_the_dead();
          pool->settle(0);
          // The task was submitted in another process.
          if (pool->count() == 0) pool->count_one_more();
          pool->close();
          pool->work(1);
          const std::uint32_t died = pool->require_documented().died;
          require(died == 0 || !moment.completed, "the worker had done it, and it died");
          return died == 0 ? all_done : one_died;
        },
        .expected = {all_done, one_died},
        .waker = [&] { pool->submit(); },
        .budget = 3s,
    });
    pool.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a worker is stopped, and goes on later") {
    const crash::Balance balance;
    crash::FreshPool pool;
    crash::prove({
        .name = "worker",
        .prepare = [&] { pool.prepare(3); },
        .operation = [&] { pool->work(0, 2); },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.completed, "it did not finish");
          pool->count_one_more();
          require(pool->state(0) == BarePool::TaskState::finished &&
                      pool->state(1) == BarePool::TaskState::finished,
                  "a task was taken from a stopped worker");
          require(pool->state(2) == BarePool::TaskState::cancelled, "it was not called off");
          pool->close();
          pool->work(1);
          require(pool->state(3) == BarePool::TaskState::finished, "the others do not go on");
          return all_done;
        },
        .expected = {all_done},
        .with = With::stop,
        .while_stopped =
            [&] {
              pool->submit();
              pool->cancel(2);
            },
        .budget = 3s,
    });
    pool.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
