// SPDX-License-Identifier: BSL-1.0

// The nursery of a whole pool is killed, before and after each system call and after each change of what it
// shares, from its first instruction to its exit: it forks workers, one of them dies and is replaced, a limit
// strikes, the pool ends. Whatever it left undone, its parent's futures all end, as is true of them, and no
// worker lives on.
//
// Fails when workers are no daemons: "the check hangs".

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "nursery/pool_state.hpp"
#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <fstream>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <unistd.h>

using crash::Moment;
using crash::require;
using kin::detail::PoolState;
using kin::detail::TaskSlot;
using namespace std::chrono_literals;

namespace {

const std::string no_pool = "no pool";
const std::string all_failed = "all failed";
const std::string some_done = "some done";
const std::string all_done = "all done";

/// What a Future told.
enum class Fate : int { open, finished, over_limit, died, refused, something_else };

constexpr std::size_t task_count = 5;

/// What the pool's parent tells the others.
struct Account {
  std::atomic<bool> has_pool;
  std::atomic<bool> has_ended;  // the pool, by request
  std::array<std::atomic<Fate>, task_count> fates;
  std::atomic<const TaskSlot*> slots;  // where they were in the round before
  std::atomic<bool> slots_moved;
};

/// A living process has one pool.
const PoolState* pool_in_family() {
  const kin::detail::ProcessTable& processes = *kin::detail::arena().processes;
  for (std::uint32_t i = 0; i < processes.slots_used; ++i) {
    const kin::detail::ClaimBlock* block = processes.slots[i].claims.get();
    for (; block != nullptr; block = block->next.get()) {
      for (const auto& entry : block->entries) {
        if (entry && entry->kind == kin::detail::ObjectKind::pool) {
          return static_cast<const PoolState*>(entry.get());
        }
      }
    }
  }
  return nullptr;
}

/// What a nursery changes. Its parent makes the slots when the nursery lives already, and always in the same
/// place: known from the round before.
crash::Ranges changes(const Account& account) {
  const kin::detail::ProcessTable& processes = *kin::detail::arena().processes;
  const PoolState& pool = *pool_in_family();
  crash::Ranges ranges{std::as_bytes(std::span(processes.slots.data(), 8)),
                       crash::memory_of(processes.births),
                       crash::memory_of(processes.sweep_lock),
                       crash::memory_of(processes.graveyard),
                       crash::memory_of(pool),
                       std::as_bytes(pool.seats())};
  if (const TaskSlot* slots = account.slots) {
    ranges.push_back(std::as_bytes(std::span(slots, task_count)));
  }
  return ranges;
}

int square(int x) { return x * x; }
int sleep_long(int seconds) { return static_cast<int>(::sleep(static_cast<unsigned>(seconds))); }
int die(int signal) { return ::raise(signal); }

template <typename Ask>
Fate fate_of(const Ask& ask) {
  try {
    return ask() == 49 ? Fate::finished : Fate::something_else;
  } catch (const kin::WorkerDied&) {
    return Fate::died;
  } catch (const kin::BrokenPool&) {
    return Fate::refused;
  } catch (const kin::TimeoutError&) {
    return Fate::over_limit;
  } catch (...) {
    return Fate::something_else;
  }
}

/// In the parent: one worker, that does a task, dies, is replaced, is killed for a limit, is replaced.
void use_pool(Account& account) {
  kin::set_log_level(kin::LogLevel::error);
  try {
    kin::Pool pool(1);
    account.has_pool = true;
    std::vector<std::optional<kin::Future<int>>> futures;
    const auto submit = [&](int (*function)(int), int argument,
                            std::optional<std::chrono::nanoseconds> limit = {}) {
      try {
        futures.emplace_back(pool.apply_async({.timeout = limit}, function, argument));
      } catch (const kin::BrokenPool&) {
        futures.emplace_back();
      }
    };
    submit(square, 7);
    submit(die, SIGKILL);
    submit(square, 7);
    submit(sleep_long, 600, 1ms);
    submit(square, 7);
    for (std::size_t i = 0; i < futures.size(); ++i) {
      account.fates[i] = futures[i] ? fate_of([&] { return futures[i]->get(); }) : Fate::refused;
    }
    if (const PoolState* state = pool_in_family(); state->block_count != 0) {
      const TaskSlot* const slots = state->slots(0).data();
      const TaskSlot* const before = account.slots.exchange(slots);
      account.slots_moved = before != nullptr && before != slots;
    }
    pool.terminate();
    // A nursery that does not end is killed by whoever waits for that for long; one that is stepped is slow.
    while (!pool.join_for(50ms)) continue;
    account.has_ended = true;
  } catch (const kin::BrokenPool&) {
    // It died before there were workers.
  }
}

/// The children of the test process, by one of them.
std::set<pid_t> siblings() {
  const std::string test = std::to_string(::getppid());
  std::ifstream file("/proc/" + test + "/task/" + test + "/children");
  std::set<pid_t> all;
  for (pid_t child = 0; file >> child;) all.insert(child);
  all.erase(::getpid());
  return all;
}

/// Whether all have ended but those that were there before; orphans are children of the test process.
bool is_alone(const std::set<pid_t>& before) {
  for (const pid_t pid : siblings()) {
    const char state = crash::process_state(pid);
    if (!before.contains(pid) && state != '?' && state != 'Z') return false;
  }
  return true;
}

/// In a child of the test process.
std::string outcome(const Account& account, const Moment& moment, const std::set<pid_t>& before) {
  while (!is_alone(before)) std::this_thread::sleep_for(100us);
  require(!account.slots_moved, "the slots are not where they are watched");
  require(account.has_ended || !account.has_pool, "the pool did not end");
  require(account.has_ended || !moment.completed, "there was no pool, and its nursery ended well");
  if (!account.has_pool) return no_pool;
  const std::array<Fate, task_count> undisturbed{Fate::finished, Fate::died, Fate::finished,
                                                 Fate::over_limit, Fate::finished};
  std::size_t finished = 0;
  bool has_failed = false;
  for (std::size_t i = 0; i < task_count; ++i) {
    const std::string who = "task " + std::to_string(i);
    const Fate fate = account.fates[i];
    const bool is_right = fate == undisturbed[i];
    const bool is_lost = fate == Fate::died || fate == Fate::refused;
    require(is_right || is_lost,
            who + " has another fate, " + std::to_string(static_cast<int>(fate)));
    require(is_right || !moment.completed, who + " was lost, and the nursery had done all");
    // They were done one after the other.
    require(!has_failed || is_lost, who + " was done behind one that was not");
    has_failed = has_failed || !is_right;
    finished += fate == Fate::finished ? 1U : 0U;
  }
  crash::sweep_the_dead();
  if (finished == 3) return all_done;
  return finished == 0 ? all_failed : some_done;
}

enum class Until { has_worker, has_buried, has_replaced, end };

/// A part of its way: from where it has prepared, or buried, so many workers, until something has come of that.
struct Part {
  std::string name;
  std::size_t stores = 0;
  Until until = Until::end;
  std::vector<std::string> expected = {};
  std::vector<std::string> possible = {};
};

/// Whether a part of the way is over; asked for again and again.
class Course {
 public:
  explicit Course(Until until) : until_(until) {}

  bool is_over() {
    const PoolState* const pool = pool_in_family();
    if (pool == nullptr) return false;
    const auto& seat = pool->seats()[0];
    const bool sits = seat.pid.load() != 0;
    has_sat_ = has_sat_ || sits;
    switch (until_) {
      case Until::has_worker: return sits;
      case Until::has_buried: return has_sat_ && !sits;
      case Until::has_replaced: return seat.restarts.load() != 0;
      case Until::end: break;
    }
    return false;
  }

 private:
  Until until_;
  bool has_sat_ = false;
};

void prove_parts(const std::vector<Part>& parts) {
  const crash::SharedPage<Account> account;
  const crash::Balance balance;
  for (const Part& part : parts) {
    std::set<pid_t> before;
    Course course(part.until);
    crash::Scenario scenario{
        .name = part.name,
        .prepare =
            [&] {
              crash::sweep_the_dead();
              const std::vector<pid_t> children = crash::children_of_this_process();
              before = {children.begin(), children.end()};
              course = Course(part.until);
              account->has_pool = account->has_ended = false;
              for (auto& fate : account->fates) fate = Fate::open;
            },
        .operation =
            [&] {
              use_pool(*account);
              ::_exit(0);
            },
        .check = [&](const Moment& moment) { return outcome(*account, moment, before); },
        .expected = part.expected,
        .possible = part.possible,
        .at = crash::At::every_change,
        .watch = [&] { return changes(*account); },
        .follows_fork = true,
        .bulk = 64,
        .budget = 2s,
    };
    if (part.stores != 0) {
      scenario.lead.word = [] { return &pool_in_family()->seats()[0].started_at; };
      scenario.lead.stores = part.stores;
    }
    if (part.until != Until::end) scenario.lead.until = [&] { return course.is_over(); };
    crash::prove(scenario);
  }
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

// Each part goes on into the next.
TEST_SUITE("pool round") {
  TEST_CASE("a nursery is killed before it has workers") {
    prove_parts({
        {.name = "birth of a nursery", .until = Until::has_worker, .expected = {no_pool}},
        {.name = "first worker",
         .stores = 1,
         .until = Until::has_buried,
         .expected = {no_pool, all_failed},
         .possible = {some_done}},
    });
  }

  TEST_CASE("a nursery is killed while it replaces a worker that died") {
    prove_parts({
        {.name = "worker that died",
         .stores = 2,
         .until = Until::has_replaced,
         .expected = {some_done}},
        {.name = "worker that is replaced",
         .stores = 3,
         .until = Until::has_buried,
         .expected = {some_done}},
    });
  }

  TEST_CASE("a nursery is killed behind a limit, and in the end of the pool") {
    prove_parts({{.name = "worker that was killed for a limit, and the end",
                  .stores = 4,
                  .expected = {some_done, all_done}}});
  }
}
