// SPDX-License-Identifier: BSL-1.0

// Whoever starts a process is killed or stopped at every change that others can see, and at every system
// call: its child runs, or there is none; a daemon does not outlive it.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <kin/process.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string no_child = "no child";
const std::string child_ran = "the child ran";

/// Waits until whoever was forked in this round has ended, and the dead have no slot any more: neither one that
/// they had nor one that they reserved. In the check, beside which only the test runs.
void wait_for_all_others() {
  using State = kin::detail::ProcessSlot::State;
  const auto is_over = [](const kin::detail::ProcessSlot& slot) {
    const std::uint64_t life = slot.life.load();
    const auto state = static_cast<State>(life & 3);
    const auto pid = static_cast<pid_t>((life & 0xffffffff) >> 2);
    if (state != State::live) return state == State::free;
    // The orphans of a round are reaped when it is over.
    return pid == getpid() || pid == getppid() || crash::process_state(pid) == 'Z';
  };
  const kin::detail::ProcessTable& table = *kin::detail::arena().processes;
  for (;; std::this_thread::sleep_for(200us)) {
    sweep_the_dead();
    if (std::ranges::all_of(std::span(table.slots.data(), table.slots_used.load()), is_over))
      return;
  }
}

void wait_for_ever() {
  for (;;) pause();
}

/// Children that put what is theirs into a queue.
struct Family {
  std::optional<kin::Queue<int>> queue = std::nullopt;

  void prepare() {
    sweep_the_dead();
    queue.emplace();
  }
  void start_and_join(int item) {
    kin::Process child([&] { queue->put(item); });
    child.start();
    child.join();
  }
  /// What children have put.
  std::vector<int> look() {
    wait_for_all_others();
    std::vector<int> items = crash::drain(*queue);
    start_and_join(9);
    require(crash::drain(*queue) == std::vector{9}, "others can't start processes");
    wait_for_all_others();
    return items;
  }
  std::string outcome(bool has_returned) {
    const std::vector<int> items = look();
    require(items.size() <= 1, "the child ran twice");
    require(!items.empty() || !has_returned, "the child did not run");
    return items.empty() ? no_child : child_ran;
  }
};

}  // namespace

TEST_SUITE("process start") {
  TEST_CASE("a child is started, and joined") {
    const crash::Balance balance;
    Family family;
    crash::Scenario scenario{
        .name = "start and join",
        .prepare = [&] { family.prepare(); },
        .operation = [&] { family.start_and_join(1); },
        .check = [&](const Moment& moment) { return family.outcome(moment.completed); },
        .expected = {no_child, child_ran},
        .at = At::every_change,
        .watch = [] { return crash::memory_of_family(); },
        .budget = 8s,
    };
    crash::prove(scenario);

    scenario.with = With::stop;
    scenario.expected = {child_ran};
    scenario.budget = 4s;
    crash::prove(scenario);
    family.queue.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("the child is killed as it starts") {
    const crash::SharedPage<std::atomic<int>> exit_code;
    constexpr int none = 1;
    Family family;
    crash::prove({
        .name = "the child's half of start",
        .prepare =
            [&] {
              family.prepare();
              *exit_code = none;
            },
        .operation =
            [&] {
              kin::Process child([&] { family.queue->put(1); });
              child.start();
              child.join();
              // Whoever traces a process hears of its end before its parent does.
              std::optional<int> code;
              while (!(code = child.exit_code())) std::this_thread::sleep_for(200us);
              *exit_code = *code;
              _exit(0);
            },
        .check = [&](const Moment& moment) -> std::string {
          while (*exit_code == none) std::this_thread::sleep_for(200us);
          require(*exit_code == (moment.completed ? 0 : -SIGKILL),
                  "its exit code is " + std::to_string(*exit_code));
          return family.outcome(moment.completed);
        },
        .expected = {no_child, child_ran},
        .at = At::every_change,
        .watch = [] { return crash::memory_of_family(); },
        .follows_fork = true,
        .budget = 4s,
    });
  }

  TEST_CASE("whoever sweeps, or starts the next, is killed too") {
    const crash::Balance balance;
    Family family;
    crash::Scenario scenario{
        .name = "sweep after a killed start",
        .prepare = [&] { family.prepare(); },
        .operation = [&] { family.start_and_join(1); },
        .check = [&](const Moment& moment) { return family.outcome(moment.first_completed); },
        .expected = {no_child, child_ran},
        .at = At::every_change,
        .watch = [] { return crash::memory_of_family(); },
        .recovery = [] { sweep_the_dead(); },
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.name = "start and join after a killed start";
    scenario.recovery = [&] { family.start_and_join(2); };
    scenario.check = [&](const Moment& moment) -> std::string {
      const std::vector<int> items = family.look();
      const auto runs = [&](int item) { return std::ranges::count(items, item); };
      require(runs(1) <= 1 && runs(2) <= 1, "a child ran twice");
      require(runs(1) == 1 || !moment.first_completed, "the first child did not run");
      require(runs(2) == 1 || !moment.completed, "the second child did not run");
      return std::string(runs(1) == 1 ? "the first" : "") + (runs(2) == 1 ? " the second" : "");
    };
    scenario.expected = {"", "the first", " the second", "the first the second"};
    crash::prove(scenario);
    family.queue.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a daemon is started") {
    const crash::SharedPage<std::atomic<pid_t>> daemon;
    crash::Scenario scenario{
        .name = "start of a daemon",
        .prepare =
            [&] {
              sweep_the_dead();
              *daemon = 0;
            },
        .operation =
            [&] {
              // Never destroyed: its creator is killed, whatever the kill point.
              static std::optional<kin::Process> child;
              child.emplace(kin::ProcessOptions{.daemon = true}, [&] {
                *daemon = getpid();
                wait_for_ever();
              });
              child->start();
            },
        // One that was just born may die before it can say that it lives.
        .check = [&](const Moment&) -> std::string {
          wait_for_all_others();
          return *daemon == 0 ? no_child : child_ran;
        },
        .expected = {no_child, child_ran},
        .at = At::every_change,
        .watch = [] { return crash::memory_of_family(); },
        .budget = 6s,
    };
    crash::prove(scenario);

    scenario.with = With::stop;
    scenario.expected = {child_ran};
    scenario.possible = {no_child};
    scenario.budget = 2s;
    crash::prove(scenario);
  }
}
