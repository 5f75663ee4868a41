// SPDX-License-Identifier: BSL-1.0

// Whoever makes a shared object, sends its handle, receives it or drops it, is killed or stopped at
// every instruction: who else has a handle goes on with the object, and what nobody has is freed.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <kin/array.hpp>
#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
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

using Inner = kin::Queue<int>;
using Outer = kin::Queue<Inner>;

const std::string not_sent = "not sent";
const std::string sent = "sent";
const std::string still_there = "still there";
const std::string taken = "taken";
const std::string others_go_on = "others go on";

/// Looks for what the deaths of a round left behind. An object may live as long as one of those who
/// were born beside it; so that is known when the next round begins, and told by its check.
class LeakDetector {
 public:
  /// When everything that the round before had made is dropped.
  void begin_round() {
    sweep_the_dead();
    const std::size_t cells = kin::detail::Heap::statistics().cells;
    complaint_.clear();
    if (last_->seen && cells != before_) {
      complaint_ = std::to_string(cells) + " blocks instead of " + std::to_string(before_) +
                   " after a death at " + std::to_string(last_->first_step) + " and " +
                   std::to_string(last_->step);
    }
    before_ = cells;
  }
  void check(const Moment& moment) const {
    last_->seen = true;
    last_->step = moment.step;
    last_->first_step = moment.first_step;
    require(complaint_.empty(), complaint_);
  }

 private:
  struct Last {
    std::atomic<bool> seen;
    std::atomic<std::size_t> step;
    std::atomic<std::size_t> first_step;
  };
  crash::SharedPage<Last> last_;
  std::size_t before_ = 0;
  std::string complaint_;
};

void require_to_work(const Inner& queue) {
  queue.put(7);
  require(queue.get() == 7 && queue.empty(), "the object does not work");
}

/// A queue of handles, and an object whose handle is sent through it.
struct Parcel {
  LeakDetector leaks = {};
  std::optional<Outer> outer = std::nullopt;
  std::optional<Inner> inner = std::nullopt;

  void prepare() {
    outer.reset();
    inner.reset();
    leaks.begin_round();
    outer.emplace();
    inner.emplace();
  }
  /// The handle is on its way, and nobody else has one.
  void prepare_sent() {
    prepare();
    outer->put(*inner);
    inner.reset();
  }
  void forget() {
    outer.reset();
    inner.reset();
  }

  /// The handles that are on their way; each of them works.
  std::size_t receive_all() const {
    const std::vector<Inner> all = crash::drain(*outer);
    for (const Inner& one : all) {
      require_to_work(one);
      require(!inner || one == *inner, "another object arrived");
    }
    return all.size();
  }

  std::string outcome_of_put(const Moment& moment) const {
    leaks.check(moment);
    const bool was_sent = receive_all() == 1;
    require(was_sent || !moment.completed, "put() returned and the handle is lost");
    sweep_the_dead();
    require_to_work(*inner);
    outer->put(*inner);
    require(receive_all() == 1, "the queue of handles does not work");
    return was_sent ? sent : not_sent;
  }

  std::string outcome_of_get(const Moment& moment) const {
    leaks.check(moment);
    const bool is_there = receive_all() == 1;
    require(!is_there || !moment.completed, "get() returned and the handle is still there");
    sweep_the_dead();
    outer->put(Inner());
    require(receive_all() == 1, "the queue of handles does not work");
    return is_there ? still_there : taken;
  }
};

std::string outcome_for_others(const LeakDetector& leaks, const Moment& moment) {
  leaks.check(moment);
  sweep_the_dead();
  require_to_work(Inner{});
  return others_go_on;
}

void make_and_drop_a_full_one() {
  const Outer outer;
  outer.put(Inner());
}

}  // namespace

TEST_SUITE("handle") {
  TEST_CASE("an object is made and dropped") {
    const crash::Balance balance;
    LeakDetector leaks;
    crash::Scenario scenario{
        .name = "a queue is made and dropped",
        .prepare = [&] { leaks.begin_round(); },
        .operation = [] { Inner{}; },
        .check = [&](const Moment& moment) { return outcome_for_others(leaks, moment); },
        .expected = {others_go_on},
        .watch = [&] { return crash::memory_of_family(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 2s);

    scenario.name = "a queue is made and dropped beside others";
    scenario.partner = [] { require_to_work(Inner{}); };
    scenario.partner_every = 16;
    scenario.budget = 5s;
    crash::prove_at_changes_and_instructions(scenario, 2s);

    scenario.name = "a lock is made and dropped";
    scenario.operation = [] { kin::Lock{}; };
    scenario.partner = {};
    scenario.budget = 0s;
    crash::prove_at_changes_and_instructions(scenario, 2s);
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("whoever makes and drops one is stopped, and goes on later") {
    const Inner another;
    const crash::Balance balance;
    LeakDetector leaks;
    crash::prove_at_changes_and_instructions(
        {
            .name = "a queue is made and dropped",
            .prepare = [&] { leaks.begin_round(); },
            .operation = [] { Inner{}; },
            .check = [&](const Moment& moment) { return outcome_for_others(leaks, moment); },
            .expected = {others_go_on},
            .with = With::stop,
            .watch = [] { return crash::memory_of_family(); },
            .while_stopped = [&] { require_to_work(another); },
            .budget = 4s,
        },
        1s);
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a handle is sent") {
    const crash::Balance balance;
    Parcel parcel;
    crash::prove_at_changes_and_instructions(
        {
            .name = "put of a handle",
            .prepare = [&] { parcel.prepare(); },
            .operation = [&] { parcel.outer->put(*parcel.inner); },
            .check = [&](const Moment& moment) { return parcel.outcome_of_put(moment); },
            .expected = {not_sent, sent},
            .watch = [&] { return crash::memory_of_family(); },
        },
        3s);
    parcel.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("the last handle is received, and dropped") {
    const crash::Balance balance;
    Parcel parcel;
    crash::prove_at_changes_and_instructions(
        {
            .name = "get of a handle, and dropping it",
            .prepare = [&] { parcel.prepare_sent(); },
            .operation = [&] { require_to_work(parcel.outer->get()); },
            .check = [&](const Moment& moment) { return parcel.outcome_of_get(moment); },
            .expected = {still_there, taken},
            .watch = [&] { return crash::memory_of_family(); },
            .budget = 6s,
        },
        3s);
    parcel.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("the last handle is received and dropped, and its memory is somebody else's") {
    std::unique_ptr<kin::Queue<kin::Event>> events;
    crash::prove({
        .name = "get of an event, and dropping it",
        .prepare =
            [&] {
              sweep_the_dead();
              events = std::make_unique<kin::Queue<kin::Event>>();
              events->put(kin::Event());
            },
        .operation = [&] { static_cast<void>(events->get()); },
        .check = [&](const Moment& moment) -> std::string {
          sweep_the_dead();
          // What was freed is taken again, and is no object any more.
          std::vector<kin::RawArray<std::uint64_t>> others;
          for (const std::size_t words : {16U, 24U, 32U, 48U}) {
            for (int i = 0; i < 4; ++i) {
              others.emplace_back(std::vector<std::uint64_t>(words, 0x4141414141414141));
            }
          }
          const bool is_there = events->try_get().has_value();
          require(!is_there || !moment.completed, "the event came twice");
          for (const auto& other : others) {
            require(
                std::ranges::all_of(other.span(),
                                    [](std::uint64_t word) { return word == 0x4141414141414141; }),
                "others' memory was changed");
          }
          return is_there ? still_there : taken;
        },
        .expected = {still_there, taken},
        .budget = 4s,
    });
    events.reset();
  }

  TEST_CASE("a queue with handles in it is dropped") {
    const crash::Balance balance;
    LeakDetector leaks;
    crash::prove_at_changes_and_instructions(
        {
            .name = "a queue with a handle in it is dropped",
            .prepare = [&] { leaks.begin_round(); },
            .operation = [] { make_and_drop_a_full_one(); },
            .check = [&](const Moment& moment) { return outcome_for_others(leaks, moment); },
            .expected = {others_go_on},
            .watch = [&] { return crash::memory_of_family(); },
            .budget = 6s,
        },
        2s);
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("whoever sends or receives is stopped, and goes on later") {
    const crash::Balance balance;
    Parcel parcel;
    crash::prove_at_changes_and_instructions(
        {
            .name = "put of a handle, and get of it",
            .prepare = [&] { parcel.prepare(); },
            .operation =
                [&] {
                  parcel.outer->put(*parcel.inner);
                  require_to_work(parcel.outer->get());
                },
            .check = [&](const Moment& moment) -> std::string {
              parcel.leaks.check(moment);
              require(parcel.outer->empty(), "the handle came twice");
              require_to_work(*parcel.inner);
              return "done";
            },
            .expected = {"done"},
            .with = With::stop,
            .watch = [&] { return crash::memory_of_family(); },
            .while_stopped = [&] { require(parcel.outer->size() <= 1, "the handle came twice"); },
            .budget = 5s,
        },
        2s);
    parcel.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("whoever sweeps, or comes next, is killed too") {
    const crash::Balance balance;
    Parcel parcel;
    crash::Scenario scenario{
        .name = "sweep after a killed put of a handle",
        .prepare = [&] { parcel.prepare(); },
        .operation = [&] { parcel.outer->put(*parcel.inner); },
        .check =
            [&](Moment moment) {
              moment.completed = moment.first_completed;
              return parcel.outcome_of_put(moment);
            },
        .possible = {not_sent, sent},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .recovery = [] { sweep_the_dead(); },
        .budget = 4s,
    };
    crash::prove_at_changes_and_instructions(scenario, 500ms);

    scenario.name = "put of a handle after a killed put";
    scenario.check = [&](const Moment& moment) -> std::string {
      parcel.leaks.check(moment);
      const std::size_t count = parcel.receive_all();
      require(count <= 2, "a handle came twice");
      require(count >= (moment.first_completed ? 1U : 0U) + (moment.completed ? 1U : 0U),
              "put() returned and the handle is lost");
      require_to_work(*parcel.inner);
      return std::to_string(count);
    };
    scenario.possible = {"0", "1", "2"};
    scenario.recovery = [&] { parcel.outer->put(*parcel.inner); };
    crash::prove_at_changes_and_instructions(scenario, 500ms);

    scenario.name = "sweep after a killed get of a handle";
    scenario.prepare = [&] { parcel.prepare_sent(); };
    scenario.operation = [&] { require_to_work(parcel.outer->get()); };
    scenario.check = [&](Moment moment) {
      moment.completed = moment.first_completed;
      return parcel.outcome_of_get(moment);
    };
    scenario.possible = {still_there, taken};
    scenario.recovery = [] { sweep_the_dead(); };
    crash::prove_at_changes_and_instructions(scenario, 500ms);

    scenario.name = "get of a handle after a killed get";
    scenario.check = [&](Moment moment) {
      moment.completed = moment.completed || moment.first_completed;
      return parcel.outcome_of_get(moment);
    };
    scenario.recovery = [&] {
      if (const auto inner = parcel.outer->try_get()) require_to_work(*inner);
    };
    crash::prove_at_changes_and_instructions(scenario, 500ms);

    scenario.name = "sweep after a queue with a handle in it was dropped";
    scenario.prepare = [&] { parcel.prepare(); };
    scenario.operation = [] { make_and_drop_a_full_one(); };
    scenario.check = [&](const Moment& moment) { return outcome_for_others(parcel.leaks, moment); };
    scenario.possible = {others_go_on};
    scenario.recovery = [] { sweep_the_dead(); };
    crash::prove_at_changes_and_instructions(scenario, 500ms);

    parcel.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
