// SPDX-License-Identifier: BSL-1.0
//
// The nursery's loop: sleep until a worker died, the parent rang, or a time limit passes; then look at
// everything. Nothing here is fast, and nothing has to be: a task that goes well passes it by.
//
// A worker's death is known from the kernel, and concerns the task whose word names its seat, if any.
// The seat is given to the next worker only when that task was dealt with.

#include "nursery/nursery.hpp"

#include "base/syscall.hpp"
#include "nursery/house_process.hpp"
#include "nursery/obituary.hpp"
#include "nursery/time_limit.hpp"
#include "os/child.hpp"
#include "os/memory_kills.hpp"

#include <kin/error.hpp>
#include <kin/listener.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/eventfd.h>

namespace kin::detail {
class Nursery::Watch {
 public:
  explicit Watch(Nursery& nursery)
      : nursery_(nursery),
        memory_(nursery.memory_),
        pool_(memory_.state()),
        workers_(pool_.seat_count),
        memory_kills_(memory_kills()) {}

  void run() {
    if (!start_all()) return;
    while (true) {
      sleep();
      bury_the_dead();
      look_at_clocks();
      kill_the_cancelled();
      if (phase() == PoolState::terminating) return end_all();
      if (phase() == PoolState::broken) return fail_all();
      fill_seats();
      if (nobody_is_left()) return;
    }
  }

 private:
  [[nodiscard]] PoolState::Phase phase() const {
    return static_cast<PoolState::Phase>(pool_.phase.load());
  }
  void set_phase(PoolState::Phase phase) {
    pool_.phase.store(phase);
    futex_wake(pool_.phase, INT_MAX);
  }

  bool start_all() {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      try {
        fork_worker(i);
      } catch (const SystemError& error) {
        pool_.start_error.store(error.code().value());
        end_workers();
        set_phase(PoolState::failed);
        return false;
      }
    }
    // The parent may have given up meanwhile.
    std::uint32_t before = PoolState::starting;
    pool_.phase.compare_exchange_strong(before, PoolState::open);
    futex_wake(pool_.phase, INT_MAX);
    return true;
  }

  void fork_worker(std::size_t at) {
    Seat& seat = pool_.seats()[at];
    seat.is_ready.store(0);
    seat.started_at.store(0);
    seat.stop_for.store(0);
    auto& worker = workers_[at].emplace(
        ProcessOptions{.name = nursery_.worker_name_ + "-" + std::to_string(++forked_),
                       .daemon = true},
        [this, at] { live(static_cast<std::uint16_t>(at)); });
    try {
      worker.start();
    } catch (...) {
      workers_[at].reset();
      throw;
    }
    seat.pid.store(worker.pid());
  }

  // In the worker.
  void live(std::uint16_t seat) {
    try {
      work(memory_, seat, nursery_.settings_, [this] { ::eventfd_write(nursery_.bell_, 1); });
    } catch (const std::exception& error) {
      if (pool_.seats()[seat].is_ready.load() == 0) explain_break(error.what());
      throw;
    }
  }

  void explain_break(std::string_view why) {
    const std::size_t length = std::min(why.size(), pool_.why_broken.size() - 1);
    for (std::size_t i = 0; i < length; ++i) pool_.why_broken[i].store(why[i]);
    pool_.why_broken[length].store('\0');
  }

  void sleep() {
    polled_.clear();
    polled_.push_back({nursery_.bell_, POLLIN, 0});
    for (const auto& worker : workers_) {
      if (worker) polled_.push_back({worker->sentinel(), POLLIN, 0});
    }
    const int count = ::poll(polled_.data(), polled_.size(), milliseconds_to_next());
    if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
    eventfd_t rings = 0;
    if (count > 0 && polled_[0].revents != 0) ::eventfd_read(nursery_.bell_, &rings);
  }

  // When the next time limit passes.
  [[nodiscard]] int milliseconds_to_next() const {
    std::int64_t next = INT64_MAX;
    for (const Seat& seat : pool_.seats()) next = std::min(next, next_limit(seat));
    if (must_retry_) next = std::min(next, Deadline::now() + limit_nanoseconds(100));
    if (next == INT64_MAX) return -1;
    const std::int64_t left = std::max<std::int64_t>(next - Deadline::now(), 0);
    return static_cast<int>(std::min<std::int64_t>((left + 999'999) / 1'000'000, INT_MAX));
  }

  void bury_the_dead() {
    kills_now_.reset();
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      std::optional<Process>& worker = workers_[i];
      if (!worker || worker->is_alive()) continue;
      const int code = worker->exit_code().value_or(1);
      const bool was_ready = pool_.seats()[i].is_ready.load() != 0;
      settle(memory_, {.seat = static_cast<std::uint16_t>(i),
                       .pid = worker->pid(),
                       .exit_code = code,
                       .out_of_memory = is_out_of_memory(code)});
      worker.reset();
      pool_.seats()[i].pid.store(0);
      if (was_ready) {
        failed_starts_ = 0;
      } else if (phase() != PoolState::terminating && ++failed_starts_ > workers_.size() + 2) {
        if (pool_.why_broken[0].load() == '\0') explain_break(how_it_ended(code));
        break_pool();
      }
    }
    if (kills_now_) memory_kills_ = *kills_now_;
  }

  static std::string how_it_ended(int code) {
    return code < 0 ? "ended by signal " + std::to_string(-code)
                    : "ended with exit code " + std::to_string(code);
  }

  void break_pool() {
    std::uint32_t before = pool_.phase.load();
    while (before == PoolState::open || before == PoolState::closing) {
      if (pool_.phase.compare_exchange_weak(before, PoolState::broken)) break;
    }
  }

  // Whether the kernel may have killed one of the dead to have its memory. It has killed somebody since the
  // last funeral; of several who are buried together it may have been any.
  bool is_out_of_memory(int code) {
    if (code != -SIGKILL) return false;
    if (!kills_now_) kills_now_ = memory_kills();
    return *kills_now_ != memory_kills_;
  }

  void look_at_clocks() {
    const std::int64_t now = Deadline::now();
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      if (workers_[i]) enforce_limits(pool_.seats()[i], static_cast<std::uint16_t>(i), now);
    }
  }

  void kill_the_cancelled() {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      const Seat& seat = pool_.seats()[i];
      std::optional<Process>& worker = workers_[i];
      TaskSlot* task = seat.current.load();
      // There may be no worker to be had for one that is to run again.
      if (!worker) settle_cancelled(memory_, static_cast<std::uint16_t>(i));
      if (!worker || task == nullptr) continue;
      const TaskWord word = task->now();
      if (word.state() != TaskState::killing || word.seat() != i ||
          word.generation() != seat.current_generation.load()) {
        continue;
      }
      // It takes nothing more: its task is its last.
      worker->kill();
    }
  }

  void fill_seats() {
    must_retry_ = false;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      if (workers_[i] || !is_needed(pool_.seats()[i])) continue;
      try {
        fork_worker(i);
        pool_.seats()[i].restarts.fetch_add(1);
      } catch (const SystemError& error) {
        must_retry_ = true;
        if (!std::ranges::any_of(workers_, [](const auto& one) { return one.has_value(); })) {
          explain_break(std::string("no worker could be started: ") + error.what());
          break_pool();
          fail_all();
        }
        return;
      }
    }
  }

  [[nodiscard]] bool is_needed(const Seat& seat) const {
    if (phase() == PoolState::open || seat.resumes.load() != 0) return true;
    // What is accepted while the pool is being closed needs a worker as well.
    return phase() == PoolState::closing &&
           (!is_shut_down(memory_.tasks()) || has_items(memory_.tasks()));
  }

  [[nodiscard]] bool nobody_is_left() const {
    return std::ranges::none_of(workers_, [](const auto& one) { return one.has_value(); });
  }

  // By request: politely, then not.
  void end_workers() {
    const bool at_once = pool_.has_no_patience.load() != 0;
    for (auto& worker : workers_) {
      if (worker && at_once) worker->kill();
      if (worker && !at_once) worker->terminate();
    }
    const Deadline deadline = Deadline::after(std::chrono::seconds(1));
    for (auto& worker : workers_) {
      if (!worker) continue;
      const auto left = std::chrono::nanoseconds(deadline.nanoseconds() - Deadline::now());
      if (!worker->join_for(left)) {
        worker->kill();
        worker->join();
      }
    }
  }

  void end_all() {
    end_workers();
    bury_the_dead();
    end_open_tasks(TaskState::cancelled);
  }

  void fail_all() {
    end_workers();
    bury_the_dead();
    end_open_tasks(TaskState::died);
    futex_wake(pool_.phase, INT_MAX);
  }

  void end_open_tasks(TaskState to) {
    end_tasks_if(memory_, to, [](TaskWord word) { return word.is_workers(); });
  }

  Nursery& nursery_;
  PoolMemory& memory_;
  PoolState& pool_;
  std::vector<std::optional<Process>> workers_;
  std::vector<pollfd> polled_;
  std::uint64_t memory_kills_;  // before the next funeral
  std::optional<std::uint64_t> kills_now_;
  std::size_t forked_ = 0;
  std::size_t failed_starts_ = 0;
  bool must_retry_ = false;
};

Nursery::Nursery(PoolMemory& memory, int bell, WorkerSettings settings, std::string worker_name)
    : memory_(memory),
      bell_(bell),
      settings_(std::move(settings)),
      worker_name_(std::move(worker_name)) {}

void Nursery::run() {
  // If killed here: the kernel closes them.
  End::close_inherited(settings_.initializer.ends());
  Acceptor::close_inherited();
  leave_interrupts_to_parent();
  Watch(*this).run();
}

}  // namespace kin::detail
