// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/cargo.hpp"
#include "crash/family.hpp"
#include "nursery/obituary.hpp"
#include "nursery/pool_state.hpp"
#include "nursery/worker.hpp"
#include "support/shared_page.hpp"

#include <kin/detail/task_context.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <signal.h>
#include <unistd.h>

namespace crash {

/// What tasks have noted, for each number: whatever happens to the pool, this is there.
struct Tally {
  std::array<std::atomic<int>, 8> begun;
};
inline Tally& tally() {
  static const SharedPage<Tally> the_tally;
  return *the_tally;
}

/// A pool's memory with some tasks in it, and neither parent nor nursery: the test does what they would.
class BarePool {
 public:
  using TaskSlot = kin::detail::TaskSlot;
  using TaskState = kin::detail::TaskState;
  using TaskWord = kin::detail::TaskWord;

  /// What a task is given: its number, and how large its result has to be.
  struct Order {
    std::uint32_t number;
    std::uint32_t size;
  };

  struct Wishes {
    std::uint32_t size = sizeof(Order);  // of each result
    std::uint32_t retries = 0;
    std::uint32_t hard_limit = 0;
    bool is_observed = false;
    bool fails = false;
    bool has_cargo = false;         // a queue among the arguments of each
    bool sends_descriptor = false;  // in its result; fails if there is no room for it
  };

  explicit BarePool(std::uint32_t count, Wishes wishes, std::uint32_t seats = 2)
      : memory_(seats), wishes_(wishes) {
    for (auto& begun : tally().begun) begun = 0;
    know_exceptions();
    if (wishes.has_cargo) cargo_.emplace();
    memory_.state().phase.store(kin::detail::PoolState::open);
    kin::detail::add_slots(memory_.state());
    for (std::uint32_t i = 0; i < count; ++i) submit();
  }

  [[nodiscard]] kin::detail::PoolMemory& memory() noexcept { return memory_; }
  [[nodiscard]] kin::detail::Seat& seat(std::size_t number) {
    return memory_.state().seats()[number];
  }
  [[nodiscard]] TaskSlot& slot(std::uint32_t number) { return memory_.state().slots(0)[number]; }
  [[nodiscard]] TaskState state(std::uint32_t number) { return slot(number).now().state(); }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

  /// One task more.
  void submit() {
    TaskSlot& task = slot(count_);
    task.generation = 1;
    task.code = wishes_.sends_descriptor ? send_descriptor : wishes_.fails ? fail : run;
    task.hard_limit = wishes_.hard_limit;
    task.retries = wishes_.retries;
    const Order order{count_, wishes_.size};
    task.arguments_length = sizeof order;
    std::memcpy(task.arguments.data(), &order, sizeof order);
    if (cargo_) {
      kin::detail::OutArchive archive;
      kin::detail::encode(archive, *cargo_);
      kin::detail::load_cargo(task.arguments_cargo, archive.cargo(), 0);
    }
    TaskWord word(task.generation, TaskState::queued);
    if (wishes_.is_observed) word = word.with(TaskWord::observed);
    task.word = word.bits();
    ++count_;
    kin::detail::put_hint(memory_.tasks(), kin::detail::TaskHint::to(task, task.generation));
  }
  /// Another process has submitted one.
  void count_one_more() noexcept { ++count_; }
  /// Calls it off, unless somebody has begun with it.
  void cancel(std::uint32_t number) {
    kin::detail::end_task_if(memory_, slot(number), 1, TaskState::cancelled,
                             [](TaskWord word) { return word.state() == TaskState::queued; });
  }
  /// As if the worker before, in that seat, had died in that task, which may run again.
  void leave_to_next(std::uint16_t seat_number, std::uint32_t number) {
    TaskSlot& task = slot(number);
    task.word = task.now().at(seat_number).with(TaskState::running).bits();
    seat(seat_number).current = &task;
    seat(seat_number).current_generation = task.generation;
    seat(seat_number).resumes = 1;
  }
  void close() { kin::detail::shut_down_hints(memory_.tasks()); }

  /// What a worker does; returns when there is nothing more to do, or after so many tasks. (The former is
  /// told by an exception, which takes tens of thousands of instructions.)
  void work(std::uint16_t seat, std::uint64_t most = 0) {
    kin::detail::WorkerSettings settings;
    settings.max_tasks = most;
    kin::detail::work(memory_, seat, settings, [] {});
  }

  /// What the nursery does about a worker that was killed.
  void settle(std::uint16_t seat) {
    kin::detail::settle(memory_, {.seat = seat, .pid = death_pid, .exit_code = -SIGKILL});
  }

  /// What the parent does when the nursery is dead, and all workers with it.
  void bury() {
    kin::detail::end_tasks_if(memory_, TaskState::died,
                              [](TaskWord word) { return word.is_workers(); });
    is_buried_ = true;
  }

  /// How many tasks ended by the death of their worker, and why it died.
  struct Losses {
    std::uint32_t died = 0;
    std::uint32_t over_limit = 0;
  };
  /// Throws unless what is finished has the right result, and what died tells of its death.
  Losses require_documented() {
    Losses losses;
    for (std::uint32_t i = 0; i < count_; ++i) {
      const std::string who = "task " + std::to_string(i);
      const TaskSlot& task = slot(i);
      switch (state(i)) {
        case TaskState::finished:
          require(!wishes_.fails, who + " finished, and should have failed");
          require_result(i);
          break;
        case TaskState::failed: require(wishes_.fails, who + " failed"); break;
        case TaskState::died:
        case TaskState::over_limit:
          ++(state(i) == TaskState::died ? losses.died : losses.over_limit);
          require(task.death.pid == death_pid && task.death.exit_code == -SIGKILL,
                  who + " tells of another death");
          break;
        default:
          throw std::runtime_error(who + " is in state " +
                                   std::to_string(static_cast<int>(state(i))));
      }
      require(task.now().generation() == 1, who + " has another generation");
      require(tally().begun[i] <= 1 + static_cast<int>(wishes_.retries), who + " ran too often");
    }
    return losses;
  }

  /// Throws unless it is whole.
  void require_result(std::uint32_t number) {
    const TaskSlot& task = slot(number);
    const std::string who = "the result of task " + std::to_string(number);
    require(task.result_length == wishes_.size, who + " has another length");
    const std::byte* bytes = task.result_block ? task.result_block.address() : task.result.data();
    for (std::size_t at = 0; at < wishes_.size; at += sizeof(Order)) {
      Order order{};
      std::memcpy(&order, bytes + at, sizeof order);
      require(order.number == number && order.size == wishes_.size, who + " is torn");
    }
  }

  /// Throws unless there is a notice of each task: no more than one, and where there is none, somebody was
  /// asked to look at that task. (When the pool is buried all are looked at.)
  void require_notices() {
    kin::detail::NoticeBoard& board = memory_.state().notices;
    const bool was_asked = board.was_asked();
    std::vector<int> notices(count_);
    board.take_all([&](TaskSlot& over) {
      require(over.now().is_over(), "a notice of a task that is not over");
      ++notices.at(static_cast<std::size_t>(&over - &slot(0)));
      return true;
    });
    for (std::uint32_t i = 0; i < count_; ++i) {
      const bool is_untold = is_buried_ || (was_asked && slot(i).untold == slot(i).generation);
      require(notices[i] == 1 || is_untold, "no notice of task " + std::to_string(i));
      require(notices[i] <= 1, "two notices of task " + std::to_string(i));
    }
  }

  /// For Scenario::watch.
  [[nodiscard]] Ranges changes() {
    Ranges ranges = memory_of_family();
    ranges.push_back(std::as_bytes(std::span(&slot(0), count_)));
    ranges.push_back(std::as_bytes(memory_.state().seats()));
    ranges.push_back(std::as_bytes(std::span(&memory_.state().notices, 1)));
    return ranges;
  }

  static constexpr pid_t death_pid = 12345;

 private:
  static Order order_of(const kin::detail::TaskContext& context) {
    Order order{};
    std::memcpy(&order, context.arguments().data(), sizeof order);
    ++tally().begun[order.number];
    return order;
  }
  static void run(kin::detail::TaskContext& context) {
    const Order order = order_of(context);
    kin::detail::IncomingCargo cargo;
    context.claim_cargo(cargo);
    std::vector<Order> result(order.size / sizeof(Order), order);
    context.give(std::as_bytes(std::span(result)), {});
  }
  static void send_descriptor(kin::detail::TaskContext& context) {
    order_of(context);
    const int any = STDERR_FILENO;
    context.give({}, {.handles = {}, .descriptors = std::span(&any, 1)});
  }
  static void fail(kin::detail::TaskContext& context) {
    order_of(context);
    throw std::invalid_argument("a task that fails");
  }

  // The first exception that a process sends makes a list of all types, which takes long.
  static void know_exceptions() {
    static const bool known = [] {
      kin::detail::OutArchive out;
      kin::detail::save_exception(out, std::make_exception_ptr(std::invalid_argument("")));
      return true;
    }();
    static_cast<void>(known);
  }

  kin::detail::PoolMemory memory_;
  Wishes wishes_;
  std::optional<kin::Queue<int>> cargo_;
  std::uint32_t count_ = 0;
  bool is_buried_ = false;
};

/// One that is made anew for each round, when those that died in the round before are swept.
class FreshPool {
 public:
  void prepare(std::uint32_t count, BarePool::Wishes wishes = {}) {
    forget();
    sweep_the_dead();
    pool_.emplace(count, wishes);
  }
  void forget() { pool_.reset(); }

  BarePool* operator->() { return &*pool_; }
  BarePool& operator*() { return *pool_; }

 private:
  std::optional<BarePool> pool_;
};

}  // namespace crash
