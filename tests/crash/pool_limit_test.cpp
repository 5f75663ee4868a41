// SPDX-License-Identifier: BSL-1.0

// A time limit strikes at every instruction of a worker's way through two tasks, and the worker is killed a
// moment later, wherever it has come to then: the task that it was decided for is over its limit, or had
// ended, and no other has anything to do with it.

#include "crash/bare_pool.hpp"
#include "crash/prove.hpp"
#include "nursery/time_limit.hpp"

#include <doctest/doctest.h>

#include <csetjmp>
#include <string>
#include <thread>

#include <unistd.h>

using crash::BarePool;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string nobody = "nobody";
const std::string first = "the first";
const std::string second = "the second";

/// What the one who strikes tells the others.
struct Strike {
  std::atomic<pid_t> worker;
  std::atomic<int> task;         // whose limit has passed; -1: none's
  std::atomic<int> other_begun;  // how often the other one had begun then
};

std::jmp_buf way_out;

/// A worker that dies, by a signal, as if by SIGKILL; but the stepper sees it return.
void work_until_killed(BarePool& pool, Strike& strike) {
  if (setjmp(way_out) != 0) return;
  ::signal(SIGUSR1, [](int) { std::longjmp(way_out, 1); });
  strike.worker = ::getpid();
  pool.work(0, 2);
}

/// The nursery while the worker stands still.
void strike_now(BarePool& pool, Strike& strike) {
  const std::int64_t later = kin::detail::Deadline::now() + 3'600'000'000'000;
  kin::detail::enforce_limits(pool.seat(0), 0, later);
  for (int i = 0; i < 2; ++i) {
    if (pool.state(static_cast<std::uint32_t>(i)) != BarePool::TaskState::killing) continue;
    strike.task = i;
    strike.other_begun = crash::tally().begun[static_cast<std::size_t>(1 - i)].load();
  }
  if (strike.task == -1 || ::fork() != 0) return;
  // The worker goes on meanwhile, as far as it may.
  std::this_thread::sleep_for(2ms);
  ::kill(strike.worker, SIGUSR1);
  ::_exit(0);
}

std::string outcome(BarePool& pool, const Strike& strike) {
  sweep_the_dead();
  const int struck = strike.task;
  if (struck != -1) {
    const auto begun = crash::tally().begun[static_cast<std::size_t>(1 - struck)].load();
    require(begun == strike.other_begun, "it took another task, and is going to be killed");
    pool.settle(0);
  }
  pool.close();
  pool.work(1);
  const BarePool::Losses losses = pool.require_documented();
  require(losses.died == 0, "a task died");
  require(losses.over_limit == (struck == -1 ? 0 : 1), "it is not over its limit, or two are");
  if (struck == -1) return nobody;
  require(pool.state(static_cast<std::uint32_t>(struck)) == BarePool::TaskState::over_limit,
          "an innocent one is over its limit");
  return struck == 0 ? first : second;
}

}  // namespace

TEST_SUITE("pool limit") {
  TEST_CASE("a limit passes at every instruction") {
    const crash::SharedPage<Strike> strike;
    const crash::Balance balance;
    crash::FreshPool pool;
    crash::Scenario scenario{
        .name = "worker whose task is over its limit",
        .prepare =
            [&] {
              pool.prepare(2, {.hard_limit = 1, .is_observed = true});
              strike->worker = 0;
              strike->task = -1;
            },
        .operation = [&] { work_until_killed(*pool, *strike); },
        .check = [&](const Moment&) { return outcome(*pool, *strike); },
        .expected = {nobody, first, second},
        .with = With::stop,
        .watch = [&] { return pool->changes(); },
        .while_stopped = [&] { strike_now(*pool, *strike); },
    };
    crash::prove_at_changes_and_instructions(scenario, 5s);
    pool.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a limit passes, and the worker is killed where it is") {
    // Without going on: the nursery was quicker.
    const crash::Balance balance;
    crash::FreshPool pool;
    crash::Scenario scenario{
        .name = "worker whose task is over its limit",
        .prepare = [&] { pool.prepare(2, {.retries = 1, .hard_limit = 1}); },
        .operation = [&] { pool->work(0, 2); },
        .check = [&](const Moment& moment) -> std::string {
          sweep_the_dead();
          kin::detail::enforce_limits(pool->seat(0), 0,
                                      kin::detail::Deadline::now() + 3'600'000'000'000);
          pool->settle(0);
          pool->close();
          pool->work(0);
          const BarePool::Losses losses = pool->require_documented();
          require(losses.died == 0, "a task died that may run again");
          require(losses.over_limit == 0 || !moment.completed, "it had done all");
          require(losses.over_limit <= 1, "two tasks are over their limit");
          return losses.over_limit == 0 ? nobody : first;
        },
        .expected = {nobody, first},
        .watch = [&] { return pool->changes(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 2s);
    pool.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
