// SPDX-License-Identifier: BSL-1.0

// A pool's worker is killed, and then its nursery, at every change of what it does about that: the parent
// ends what is left, and finds every task over, once, with a result or with a death that is true.

#include "crash/bare_pool.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <string>

using crash::BarePool;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using namespace std::chrono_literals;

namespace {

const std::string all_over = "all over";

/// Worker 0 is killed, then the nursery that settles it; worker 1 had begun with a task as well, and is
/// killed with its nursery.
struct Burial {
  BarePool::Wishes wishes;
  crash::FreshPool pool = {};

  void prepare() {
    pool.prepare(3, wishes);
    pool->leave_to_next(1, 2);
  }

  /// The parent.
  std::string outcome() {
    sweep_the_dead();
    pool->bury();
    std::uint32_t died = 0;
    for (std::uint32_t i = 0; i < pool->count(); ++i) {
      const kin::detail::TaskWord word = pool->slot(i).now();
      require(word.is_over(), "a task is not over");
      require(word.generation() == 1, "a task has another generation");
      if (word.state() == BarePool::TaskState::finished) {
        pool->require_result(i);
      } else {
        require(word.state() == BarePool::TaskState::died, "a task ended in another way");
        ++died;
      }
    }
    require(pool->state(2) == BarePool::TaskState::died && died >= 1, "nobody did the last task");
    if (wishes.is_observed) pool->require_notices();
    return all_over;
  }
};

void prove_burial(const std::string& name, Burial burial) {
  const crash::Balance balance;
  crash::prove({
      .name = name,
      .prepare = [&] { burial.prepare(); },
      .operation = [&] { burial.pool->work(0, 2); },
      .check = [&](const Moment&) { return burial.outcome(); },
      .expected = {all_over},
      .at = crash::At::every_change,
      .watch = [&] { return burial.pool->changes(); },
      .recovery = [&] { burial.pool->settle(0); },
      .budget = 3s,
  });
  burial.pool.forget();
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

TEST_SUITE("pool nursery") {
  TEST_CASE("a nursery is killed behind its worker") {
    prove_burial("settling a worker", {.wishes = {}});
    prove_burial("settling a worker whose tasks are observed", {.wishes = {.is_observed = true}});
    prove_burial("settling a worker with retries", {.wishes = {.retries = 1}});
  }

  TEST_CASE("a nursery is stopped behind its worker, and goes on later") {
    const crash::Balance balance;
    crash::FreshPool pool;
    crash::prove({
        .name = "settling a worker",
        .prepare =
            [&] {
              pool.prepare(3);
              pool->leave_to_next(0, 0);
            },
        .operation = [&] { pool->settle(0); },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.completed, "it did not finish");
          require(pool->state(1) == BarePool::TaskState::finished, "another worker was held up");
          pool->close();
          pool->work(1);
          require(pool->require_documented().died == 1, "it is not the one task that died");
          require(pool->state(0) == BarePool::TaskState::died, "it is another one");
          return all_over;
        },
        .expected = {all_over},
        .with = crash::With::stop,
        .while_stopped = [&] { pool->work(1, 1); },
        .budget = 2s,
    });
    pool.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
