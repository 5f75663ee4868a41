// SPDX-License-Identifier: BSL-1.0

// Whoever shuts a queue down is killed, or stopped, at every instruction: it is shut down for all, or
// for nobody.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string open = "open";
const std::string shut = "shut down";

bool put_is_refused(const kin::Queue<int>& queue, int item) {
  try {
    queue.put(item);
    return false;
  } catch (const kin::QueueShutDown&) {
    return true;
  }
}

bool get_is_refused(const kin::Queue<int>& queue) {
  try {
    return queue.try_get().has_value() && false;
  } catch (const kin::QueueShutDown&) {
    return true;
  }
}

struct Fresh {
  std::optional<kin::Queue<int>> queue;

  void prepare(int max_size = 0) {
    sweep_the_dead();
    queue.emplace(max_size);
  }

  /// Of a queue that began with 1 in it, from which nobody takes.
  std::string outcome(const Moment& moment) const {
    const bool refused = put_is_refused(*queue, 2);
    require(refused || !(moment.completed || moment.first_completed),
            "shutdown() returned and the queue is open");
    require(queue->size() == (refused ? 1 : 2), "size() is wrong");
    require(queue->get() == 1, "what was put before is lost");
    if (!refused) {
      require(queue->get() == 2 && !queue->try_get(), "the queue does not work");
      queue->shutdown();
    }
    require(put_is_refused(*queue, 3) && get_is_refused(*queue) && queue->empty(),
            "shut down for some only");
    sweep_the_dead();
    require(put_is_refused(*queue, 3) && get_is_refused(*queue), "the sweep opened it");
    return refused ? shut : open;
  }
};

}  // namespace

TEST_SUITE("shutdown") {
  TEST_CASE("a queue is shut down") {
    const crash::Balance balance;
    Fresh fresh;
    crash::prove({
        .name = "shutdown",
        .prepare =
            [&] {
              fresh.prepare();
              fresh.queue->put(1);
            },
        .operation = [&] { fresh.queue->shutdown(); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {open, shut},
    });
    fresh.queue.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("another puts at the same time") {
    Fresh fresh;
    crash::prove({
        .name = "shutdown beside puts",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.queue->shutdown(); },
        .check = [&](const Moment& moment) -> std::string {
          const bool refused = put_is_refused(*fresh.queue, -1);
          require(refused || !moment.completed, "shutdown() returned and the queue is open");
          if (!refused) fresh.queue->shutdown();
          require(fresh.queue->size() <= moment.partner_turns + 1, "a message came twice");
          require(put_is_refused(*fresh.queue, -1), "it was not shut down in the end");
          return refused ? shut : open;
        },
        .expected = {open, shut},
        .partner =
            [&] {
              const bool was_shut = kin::detail::is_shut_down(crash::channel_of(*fresh.queue));
              const bool refused = put_is_refused(*fresh.queue, 2);
              require(refused || !was_shut, "a put slipped in behind the shutdown");
            },
        .partner_every = 8,
    });
  }

  TEST_CASE("a reader sleeps, or a writer") {
    Fresh fresh;
    crash::Scenario scenario{
        .name = "shutdown that wakes a reader",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.queue->shutdown(); },
        .check = [&](const Moment& moment) -> std::string {
          const std::string outcome =
              kin::detail::is_shut_down(crash::channel_of(*fresh.queue)) ? shut : open;
          require(outcome == shut || !moment.completed, "shutdown() returned too early");
          if (outcome == open) fresh.queue->shutdown();
          require(crash::rouse(moment) == "refused", "the sleeper got what was never there");
          return outcome;
        },
        .expected = {open, shut},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              try {
                return std::to_string(fresh.queue->get());
              } catch (const kin::QueueShutDown&) {
                return std::string("refused");
              }
            },
    };
    crash::prove(scenario);

    scenario.name = "shutdown that wakes a writer";
    scenario.prepare = [&] {
      fresh.prepare(1);
      fresh.queue->put(1);
    };
    scenario.sleeper = [&] {
      crash::sleep_lightly();
      return put_is_refused(*fresh.queue, 2) ? "refused" : "put";
    };
    crash::prove(scenario);
  }

  TEST_CASE("whoever shuts down is stopped, and goes on later") {
    Fresh fresh;
    crash::prove({
        .name = "shutdown",
        .prepare =
            [&] {
              fresh.prepare();
              fresh.queue->put(0);
              fresh.queue->put(1);
            },
        .operation = [&] { fresh.queue->shutdown(); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {shut},
        .with = With::stop,
        .while_stopped = [&] { require(fresh.queue->get() == 0, "a message is lost"); },
    });
  }

  TEST_CASE("whoever comes next is killed too") {
    Fresh fresh;
    crash::Scenario scenario{
        .name = "shutdown after a killed one",
        .prepare =
            [&] {
              fresh.prepare();
              fresh.queue->put(1);
            },
        .operation = [&] { fresh.queue->shutdown(); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {open, shut},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .recovery = [&] { fresh.queue->shutdown(); },
        .budget = 6s,
    };
    crash::prove_at_changes_and_instructions(scenario, 1s);
  }
}
