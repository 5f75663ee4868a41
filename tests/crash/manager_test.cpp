// SPDX-License-Identifier: BSL-1.0

// A manager's client is killed at every instruction of a call: of one that is answered at once, one that
// is parked, one whose time is up. The server and its other clients go on, and nothing that was handed over is
// lost.

#include "crash/household.hpp"
#include "support/shared_page.hpp"

#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <optional>
#include <string>

using crash::Household;
using crash::Moment;
using crash::require;
using namespace std::chrono_literals;

namespace {

const std::string never_called = "never called";
const std::string called = "called";
const std::string still_there = "the item is there";
const std::string gone = "it went with its taker";

void count_up(int& it) { ++it; }

}  // namespace

TEST_SUITE("manager") {
  TEST_CASE("a call") {
    const Household house;
    crash::prove({
        .name = "call of a manager's object",
        .prepare = [&] { house.prepare(); },
        .operation = [&] { house.number.apply(count_up); },
        .check =
            [&](const Moment& moment) {
              house.require_settled();
              const int value = house.number.copy();
              require(value == 1 || (value == 0 && !moment.completed),
                      "it was called twice, or lost");
              return value == 1 ? called : never_called;
            },
        .expected = {never_called, called},
        .budget = 4s,
    });
  }

  TEST_CASE("an object is made and dropped") {
    const Household house;
    const std::size_t objects = house.manager.statistics().objects;
    std::size_t rounds_with_more = 0;
    crash::prove({
        .name = "an object of a manager's made and dropped",
        .prepare =
            [&] {
              house.prepare();
              // Not in the check: who was forked while the object was there may have inherited a proxy.
              if (house.manager.statistics().objects != objects) ++rounds_with_more;
            },
        .operation = [&] { static_cast<void>(house.manager.make<std::string>("text").copy()); },
        .check =
            [&](const Moment&) {
              house.require_settled();
              return "settled";
            },
        .expected = {"settled"},
        .budget = 8s,
    });
    CHECK(rounds_with_more == 0);
  }

  TEST_CASE("an item is taken") {
    const Household house;
    crash::prove_behind_first_call(house, {
                                              .name = "get from a manager's queue",
                                              .prepare =
                                                  [&] {
                                                    house.prepare();
                                                    house.queue.put(7);
                                                  },
                                              .operation = [&] { house.queue.get(); },
                                              .check =
                                                  [&](const Moment& moment) {
                                                    house.require_settled();
                                                    const auto item = house.queue.try_get();
                                                    require(
                                                        !item || (*item == 7 && !moment.completed),
                                                        "it was handed out twice");
                                                    return item ? still_there : gone;
                                                  },
                                              .expected = {still_there, gone},
                                              .budget = 4s,
                                          });
  }

  TEST_CASE("an item is waited for") {
    const Household house;
    crash::prove({
        .name = "get from a manager's queue that was waited for",
        .prepare = [&] { house.prepare(); },
        .operation = [&] { house.queue.get(); },
        .check =
            [&](const Moment& moment) {
              house.require_settled();
              const auto item = house.queue.try_get();
              require(!item || (*item == 7 && !moment.completed), "it was handed out twice");
              return item ? still_there : gone;
            },
        .expected = {still_there, gone},
        .waker = [&] { house.queue.put(7); },
        .budget = 4s,
    });
  }

  TEST_CASE("the time is up, as items come") {
    const Household house;
    const crash::SharedPage<crash::Notes> notes;
    crash::prove_behind_first_call(
        house, {
                   .name = "get_for from a manager's queue, beside a put now and then",
                   .prepare =
                       [&] {
                         house.prepare();
                         notes->clear();
                       },
                   .operation = [&] { notes->got_it = house.queue.get_for(2ms).has_value(); },
                   .check =
                       [&](const Moment& moment) {
                         house.require_settled();
                         std::size_t items = 0;
                         while (house.queue.try_get()) ++items;
                         const std::size_t taken = moment.partner_turns - items;
                         require(taken <= 1, "items were lost, or came twice");
                         if (moment.completed)
                           require(taken == (notes->got_it ? 1 : 0), "it took another number");
                         return taken == 1 ? gone : still_there;
                       },
                   .expected = {still_there, gone},
                   .partner = [&] { house.queue.put(7); },
                   .partner_every = 700,
                   .budget = 4s,
               });
  }

  TEST_CASE("a call that is withdrawn") {
    const Household house;
    crash::prove_behind_first_call(
        house, {
                   .name = "get_for from a manager's queue in which nothing is",
                   .prepare = [&] { house.prepare(); },
                   .operation = [&] { static_cast<void>(house.queue.get_for(1ms)); },
                   .check =
                       [&](const Moment&) {
                         house.require_settled();
                         house.queue.put(7);
                         require(house.queue.get() == 7, "a dead one took the item");
                         return still_there;
                       },
                   .expected = {still_there},
                   .budget = 4s,
               });
  }
}
