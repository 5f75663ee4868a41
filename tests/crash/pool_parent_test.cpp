// SPDX-License-Identifier: BSL-1.0

// A pool's parent is killed at every instruction of what it asks of the pool: its nursery and its workers
// end with it, and the rest of the family has all its memory back.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/log.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using crash::Moment;
using crash::require;
using namespace std::chrono_literals;

namespace {

const std::string nobody_left = "nobody left";

/// Who the pool's processes are, and when what is asked for begins and has been answered.
struct Household {
  std::atomic<pid_t> nursery;
  std::atomic<pid_t> worker;
  std::atomic<std::uint64_t> begins;
  std::atomic<bool> is_over;
};

bool is_dead(pid_t pid) {
  const char state = crash::process_state(pid);
  return pid == 0 || state == '?' || state == 'Z';
}

int square(int x) { return x * x; }
int length(const std::string& text) { return static_cast<int>(text.size()); }
int sleep_long(int seconds) { return static_cast<int>(::sleep(static_cast<unsigned>(seconds))); }

/// From its first instruction to its return; behind what `begin` asks for.
void prove_end(
    const std::string& name, const std::function<void(kin::Pool&)>& ask,
    const std::function<void(kin::Pool&)>& begin = [](kin::Pool&) {}) {
  const crash::SharedPage<Household> household;
  const crash::Balance balance;
  crash::prove({
      .name = name,
      .prepare =
          [&] {
            crash::sweep_the_dead();
            household->nursery = household->worker = 0;
            household->begins = 0;
            household->is_over = false;
          },
      .operation =
          [&] {
            kin::set_log_level(kin::LogLevel::error);
            kin::Pool pool(1);
            household->nursery = pool.apply([] { return static_cast<int>(::getppid()); });
            household->worker = pool.apply([] { return static_cast<int>(::getpid()); });
            begin(pool);
            household->begins = 1;
            ask(pool);
            household->is_over = true;
          },
      .check = [&](const Moment&) -> std::string {
        require(household->worker != 0, "there was no pool");
        // By the kernel; and the one that took a killed worker's place.
        while (!is_dead(household->nursery) || !is_dead(household->worker)) {
          std::this_thread::sleep_for(100us);
        }
        crash::sweep_the_dead();
        return nobody_left;
      },
      .expected = {nobody_left},
      .lead = {.word = [&] { return &household->begins; },
               .stores = 1,
               .until = [&] { return household->is_over.load(); }},
      .bulk = 64,
      .budget = 3s,
  });
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

TEST_SUITE("pool parent") {
  TEST_CASE("a parent is killed that submits and waits") {
    prove_end("submit and get",
              [](kin::Pool& pool) { static_cast<void>(pool.apply_async(square, 3).get()); });
  }

  TEST_CASE("a parent is killed that submits what needs a block") {
    prove_end("submit of 1 KiB", [](kin::Pool& pool) {
      static_cast<void>(pool.apply_async(length, std::string(1000, 'x')).get());
    });
  }

  // Small as large blocks go, or all kill points were in the copying. The second time the blocks are those of the first.
  TEST_CASE("a parent is killed that submits and takes what needs large blocks") {
    const std::vector<int> numbers(6000, 3);
    const auto twice = [](std::vector<int> all) {
      for (int& one : all) one *= 2;
      return all;
    };
    prove_end(
        "submit and get of 24 KB, again",
        [&](kin::Pool& pool) { static_cast<void>(pool.apply_async(twice, numbers).get()); },
        [&](kin::Pool& pool) { static_cast<void>(pool.apply(twice, numbers)); });
  }

  TEST_CASE("a parent is killed that calls off") {
    prove_end("cancel", [](kin::Pool& pool) {
      const auto running = pool.apply_async(sleep_long, 600);
      const auto pending = pool.apply_async(sleep_long, 600);
      static_cast<void>(pending.cancel());
      static_cast<void>(running.cancel({.kill = true}));
    });
  }

  TEST_CASE("a parent is killed that drops futures, and lets go of the pool") {
    prove_end("drop and end", [](kin::Pool& pool) {
      static_cast<void>(pool.apply_async(sleep_long, 600));
      static_cast<void>(pool.apply_async(square, 2));
      pool.terminate();
    });
  }
}
