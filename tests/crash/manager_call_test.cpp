// SPDX-License-Identifier: BSL-1.0

// A manager's client is killed at every instruction of the calls that are more than one question and one answer: a
// batch, a call that nobody waits for, with somebody to be called at its end, and proxies that are handed on.

#include "crash/household.hpp"
#include "support/shared_page.hpp"

#include <kin/future.hpp>
#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

using crash::Household;
using crash::Moment;
using crash::require;
using namespace std::chrono_literals;

namespace {

const std::string never_called = "never called";
const std::string called = "called";

int count_up(int& it) { return ++it; }

}  // namespace

TEST_SUITE("manager calls") {
  TEST_CASE("a batch") {
    const Household house;
    constexpr int calls = 3;
    crash::prove_behind_first_call(
        house, {
                   .name = "batch of three calls",
                   .prepare = [&] { house.prepare(); },
                   .operation =
                       [&] {
                         auto batch = house.number.batch();
                         for (int i = 0; i < calls; ++i) batch.apply(count_up);
                         batch.run();
                       },
                   .check =
                       [&](const Moment& moment) {
                         house.require_settled();
                         const int value = house.number.copy();
                         require(value == calls || (value == 0 && !moment.completed),
                                 "a part of it was called: " + std::to_string(value));
                         return value == calls ? called : never_called;
                       },
                   .expected = {never_called, called},
                   .budget = 4s,
               });
  }

  TEST_CASE("a call that nobody waits for, with its callback") {
    const Household house;
    const crash::SharedPage<std::atomic<int>> callbacks;
    crash::prove_behind_first_call(
        house, {
                   .name = "call_async with a callback",
                   .prepare =
                       [&] {
                         house.prepare();
                         *callbacks = 0;
                       },
                   .operation =
                       [&] {
                         // By the thread that calls observers, or at once.
                         const auto future = house.number.apply_async(count_up);
                         future.add_done_callback(
                             [&](const kin::Future<int>& done) { *callbacks += done.get(); });
                         static_cast<void>(future.get());
                         while (*callbacks == 0) std::this_thread::yield();
                       },
                   .check =
                       [&](const Moment& moment) {
                         house.require_settled();
                         const int value = house.number.copy();
                         require(value == 1 || (value == 0 && !moment.completed),
                                 "it was called twice, or lost");
                         require(*callbacks <= value && (!moment.completed || *callbacks == 1),
                                 "somebody was called too often, or too early");
                         return value == 1 ? called : never_called;
                       },
                   .expected = {never_called, called},
                   .budget = 4s,
               });
  }

  TEST_CASE("a call that nobody waits for is let go of") {
    const Household house;
    crash::prove_behind_first_call(
        house, {
                   .name = "call_async whose future is dropped, and a second one",
                   .prepare = [&] { house.prepare(); },
                   .operation =
                       [&] {
                         static_cast<void>(house.number.apply_async(count_up));
                         static_cast<void>(house.number.apply_async(count_up));
                         // Waits for both.
                         static_cast<void>(house.number.copy());
                       },
                   .check =
                       [&](const Moment& moment) {
                         house.require_settled();
                         const int value = house.number.copy();
                         require(value == 2 || (value >= 0 && value < 2 && !moment.completed),
                                 "a call was lost, or called twice");
                         return value == 0 ? never_called : called;
                       },
                   .expected = {never_called, called},
                   .budget = 4s,
               });
  }

  TEST_CASE("a proxy is made, copied, and handed to another object") {
    using Inner = kin::Proxy<int>;
    const Household house;
    const auto outer = house.manager.make<std::vector<Inner>>();
    const std::size_t objects = house.manager.statistics().objects;
    std::size_t rounds_with_more = 0;
    const std::string kept = "the other object has it";
    const std::string nothing = "there is nothing of it";
    crash::prove_behind_first_call(
        house,
        {
            .name = "a proxy made, copied, and handed to another object",
            .prepare =
                [&] {
                  outer.apply([](std::vector<Inner>& all) { all.clear(); });
                  house.prepare();
                  // Who was forked while the object was there may have inherited a proxy: so not in the check.
                  static_cast<void>(house.manager.statistics());
                  if (house.manager.statistics().objects != objects) ++rounds_with_more;
                },
            .operation =
                [&] {
                  const Inner inner = house.manager.make<int>(5);
                  const Inner copy = inner;  // NOLINT(performance-unnecessary-copy-initialization)
                  outer.apply([](std::vector<Inner>& all, Inner one) { all.push_back(one); }, copy);
                },
            .check =
                [&](const Moment& moment) {
                  house.require_settled();
                  const std::vector<Inner> all = outer.copy();
                  require(all.size() <= 1, "it was handed on twice");
                  require(all.size() == 1 || !moment.completed, "it was lost");
                  if (all.empty()) return nothing;
                  require(all.front().copy() == 5, "it is another");
                  return kept;
                },
            .expected = {kept, nothing},
            .budget = 4s,
        });
    CHECK(rounds_with_more == 0);
  }
}
