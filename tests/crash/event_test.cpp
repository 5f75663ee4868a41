// SPDX-License-Identifier: BSL-1.0

// Whoever sets an event, or waits for one, is killed or stopped at every instruction: it is set or it is
// not, and all others who wait go on.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <string>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string is_set = "set";
const std::string not_set = "not set";

struct Fresh {
  std::optional<kin::Event> event = std::nullopt;

  void prepare() {
    sweep_the_dead();
    event.emplace();
  }
  [[nodiscard]] std::string look() const {
    const bool before = event->is_set();
    require(event->wait_for(0s) == before, "is_set() and wait_for() differ");
    for (int again = 0; again < 2; ++again) {
      event->set();
      require(event->wait_for(5s), "it can't be set");
      event->clear();
      require(!event->is_set() && !event->wait_for(0s), "it can't be cleared");
    }
    return before ? is_set : not_set;
  }
};

}  // namespace

TEST_SUITE("event") {
  TEST_CASE("an event is set and cleared") {
    const crash::Balance balance;
    Fresh fresh;
    crash::prove({
        .name = "set and clear",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              fresh.event->set();
              fresh.event->clear();
            },
        .check =
            [&](const Moment& moment) {
              const std::string found = fresh.look();
              require(!moment.completed || found == not_set, "the clear() was lost");
              return found;
            },
        .expected = {is_set, not_set},
    });
    fresh.event.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("others wait for it") {
    for (const bool cleared : {false, true}) {
      Fresh fresh;
      crash::prove({
          .name = cleared ? "set that wakes another, and clear" : "set that wakes another",
          .prepare = [&] { fresh.prepare(); },
          .operation =
              [&] {
                fresh.event->set();
                if (cleared) fresh.event->clear();
              },
          .check =
              [&](const Moment& moment) {
                // Where it was never set somebody else does.
                const bool by_other = !moment.completed;
                if (by_other) fresh.event->set();
                const std::string answer = crash::rouse(moment);
                require(answer == "went on", "the waiter did not go on");
                return answer;
              },
          .expected = {"went on"},
          .sleeper =
              [&] {
                crash::sleep_lightly();
                require(fresh.event->wait_for(5s), "it was not set");
                return "went on";
              },
          .budget = 8s,
      });
    }
  }

  TEST_CASE("one of those who wait is killed") {
    Fresh fresh;
    crash::prove({
        .name = "wait beside another who waits",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.event->wait(); },
        .check =
            [&](const Moment& moment) {
              fresh.event->set();
              const std::string answer = crash::rouse(moment);
              require(answer == "went on", "the other did not go on");
              static_cast<void>(fresh.look());
              return answer;
            },
        .expected = {"went on"},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              require(fresh.event->wait_for(5s), "it was not set");
              return "went on";
            },
        .waker = [&] { fresh.event->set(); },
        .budget = 8s,
    });
  }

  TEST_CASE("who sets it is stopped, and goes on later") {
    Fresh fresh;
    crash::prove({
        .name = "set and clear",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              fresh.event->set();
              fresh.event->clear();
            },
        .check =
            [&](const Moment&) {
              require(fresh.look() == not_set, "the clear() was lost");
              return not_set;
            },
        .expected = {not_set},
        .with = With::stop,
        .while_stopped = [&] { static_cast<void>(fresh.event->wait_for(0s)); },
        .budget = 5s,
    });
  }
}
