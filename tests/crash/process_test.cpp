// SPDX-License-Identifier: BSL-1.0

// Whoever starts a process is killed or stopped at every change that others can see, and at every system
// call: its child runs, or there is none; a daemon does not outlive it.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <kin/process.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>

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

crash::Ranges memory_of_processes() {
  const kin::detail::ProcessTable& processes = *kin::detail::arena().processes;
  return {std::as_bytes(std::span(processes.slots.data(), 16)), crash::memory_of(processes.births),
          crash::memory_of(processes.sweep_lock)};
}

bool is_dead(pid_t pid) {
  const char state = crash::process_state(pid);
  return state == '?' || state == 'Z';
}

void wait_for_ever() {
  for (;;) pause();
}

}  // namespace

TEST_SUITE("process start") {
  TEST_CASE("a child is started, and joined") {
    const crash::Balance balance;
    std::optional<kin::Queue<int>> queue;
    crash::Scenario scenario{
        .name = "start and join",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace();
            },
        .operation =
            [&] {
              kin::Process child([&] { queue->put(getpid()); });
              child.start();
              child.join();
            },
        .check = [&](const Moment& moment) -> std::string {
          const auto pid = queue->get_for(moment.completed ? 5000ms : 30ms);
          require(pid.has_value() || !moment.completed, "the child did not run");
          require(queue->empty(), "the child ran twice");
          sweep_the_dead();
          queue->put(1);
          require(queue->get() == 1, "the queue does not work");
          kin::Process another([&] { queue->put(2); });
          another.start();
          another.join();
          require(another.exit_code() == 0 && queue->get() == 2, "others can't start processes");
          return pid ? child_ran : no_child;
        },
        .expected = {no_child, child_ran},
        .at = At::every_change,
        .watch = [] { return memory_of_processes(); },
        .budget = 8s,
    };
    crash::prove(scenario);

    scenario.name = "start";
    scenario.operation = [&] {
      kin::Process child([&] { queue->put(getpid()); });
      child.start();
    };
    scenario.with = With::stop;
    scenario.check = [&](const Moment& moment) -> std::string {
      require(moment.completed && queue->size() == 1, "the child did not run, or not once");
      return child_ran;
    };
    scenario.expected = {child_ran};
    scenario.budget = 4s;
    crash::prove(scenario);
    queue.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a daemon is started") {
    const crash::SharedPage<std::atomic<pid_t>> daemon;
    crash::prove({
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
        .check = [&](const Moment&) -> std::string {
          // A child that was just born dies before it can say that it lives, or soon after it.
          for (int look = 0; look < 20; ++look) {
            if (*daemon != 0) break;
            std::this_thread::sleep_for(1ms);
          }
          if (*daemon == 0) return no_child;
          while (!is_dead(*daemon)) std::this_thread::sleep_for(1ms);
          return child_ran;
        },
        .expected = {no_child, child_ran},
        .at = At::every_change,
        .watch = [] { return memory_of_processes(); },
        .budget = 6s,
    });
  }
}
