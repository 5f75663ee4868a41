// SPDX-License-Identifier: BSL-1.0

// Whoever changes an Array is killed at every instruction: an element of a word is the old one or the new
// one; where several may be half changed, the next holder of the lock is told.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/array.hpp>
#include <kin/log.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using namespace std::chrono_literals;

namespace {

const std::string old_one = "as it was";
const std::string new_one = "changed";
const std::string told = "half changed, and told";

struct Fresh {
  std::optional<kin::Array<long>> array = std::nullopt;

  void prepare() {
    sweep_the_dead();
    kin::set_log_level(kin::LogLevel::off);  // it has a warning in every second round
    array.emplace(std::vector<long>{1, 2, 3, 4});
  }
  /// Its elements; whether the last holder of its lock has died.
  std::pair<std::vector<long>, bool> look() const {
    require(array->get_lock().try_lock_for(5s), "its lock can't be taken");
    const bool was_told = array->get_lock().owner_died();
    std::vector<long> all = array->copy();
    array->get_lock().unlock();
    return {std::move(all), was_told};
  }
  void require_to_work() const {
    array->assign(0, {5, 6, 7, 8});
    (*array)[3] += 1;
    require(array->copy() == std::vector<long>{5, 6, 7, 9}, "it does not work");
    sweep_the_dead();
    require(!array->get_lock().locked(), "its lock was left locked");
  }
};

}  // namespace

TEST_SUITE("array") {
  TEST_CASE("an element is added to") {
    const crash::Balance balance;
    Fresh fresh;
    crash::prove({
        .name = "Array: a[2] += 10",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { (*fresh.array)[2] += 10; },
        .check =
            [&](const Moment& moment) {
              const auto [all, was_told] = fresh.look();
              const bool is_new = all == std::vector<long>{1, 2, 13, 4};
              require(is_new || all == std::vector<long>{1, 2, 3, 4}, "an element is neither");
              require(is_new || !moment.completed, "what was added is gone");
              fresh.require_to_work();
              return is_new ? new_one : old_one;
            },
        .expected = {old_one, new_one},
    });
    fresh.array.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("several are assigned") {
    Fresh fresh;
    crash::prove({
        .name = "Array: with",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              fresh.array->with([](std::span<long> all) {
                for (long& one : all) one = one + 10;
              });
            },
        .check =
            [&](const Moment& moment) {
              const auto [all, was_told] = fresh.look();
              const bool is_new = all == std::vector<long>{11, 12, 13, 14};
              const bool is_old = all == std::vector<long>{1, 2, 3, 4};
              require(is_new || !moment.completed, "what was assigned is gone");
              require(!was_told || !moment.completed, "told of a death that was none");
              require(is_new || is_old || was_told, "half changed, and nobody was told");
              fresh.require_to_work();
              return is_new ? new_one : is_old ? old_one : told;
            },
        .expected = {old_one, new_one, told},
    });
  }
}
