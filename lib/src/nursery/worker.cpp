// SPDX-License-Identifier: BSL-1.0
//
// A pool's worker: takes a task, runs it, stores its result. Whatever happens to it concerns the one
// task that it has: the task's word says whose it is, and changes by compare-and-swap only.

#include "nursery/worker.hpp"

#include "base/fork_depth.hpp"
#include "base/syscall.hpp"
#include "waiting/soft_limit.hpp"
#include "wire/exception.hpp"

#include <kin/detail/archive.hpp>
#include <kin/detail/channel.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <limits>

#include <stdio_ext.h>
#include <unistd.h>

namespace kin::detail {
namespace {

Seat* own_seat = nullptr;

// A task that forks may return in both processes. The copy is no worker, and what it would answer is
// not asked for.
void leave_if_copy() noexcept {
  // Relaxed: this process wrote it, or the one whose copy this is.
  if (own_seat->worker.load(std::memory_order_relaxed) != this_process_or_none()) ::_exit(0);
}

// Resident bytes of this process.
std::uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

class Worker {
 public:
  Worker(PoolMemory& memory, std::uint16_t seat, WorkerSettings& settings, FunctionRef<void()> ring)
      : memory_(memory),
        seat_(memory.state().seats()[seat]),
        seat_number_(seat),
        settings_(settings),
        ring_(ring) {}

  void run() {
    if (seat_.resumes.exchange(0) != 0) {
      TaskSlot& left = *seat_.current.load();
      // Called off meanwhile.
      if (left.now().state() != TaskState::running) wait_for_death();
      do_task(left);
    }
    while (!has_done_enough()) {
      TaskSlot* task = take();
      if (task == nullptr) return;
      do_task(*task);
    }
  }

 private:
  bool has_done_enough() const {
    if (settings_.max_tasks != 0 && done_ >= settings_.max_tasks) return true;
    return settings_.max_memory != 0 && done_ != 0 && resident_memory() > settings_.max_memory;
  }

  // Null when there will be none any more.
  TaskSlot* take() {
    TaskSlot* taken = nullptr;
    const auto claim_task = [&](TaskHint hint) {
      TaskSlot& slot = hint.slot();
      slot.fetch_for_worker();
      seat_.current_generation.store(hint.generation, std::memory_order_relaxed);
      // If killed behind this: the nursery looks at the word, which is not ours yet.
      seat_.current.store(&slot, std::memory_order_release);
      TaskWord now = slot.now();
      while (now.generation() == hint.generation && now.state() == TaskState::queued) {
        std::uint64_t before = now.bits();
        if (slot.word.compare_exchange_strong(
                before, now.at(seat_number_).with(TaskState::running).bits())) {
          taken = &slot;
          return;
        }
        now = TaskWord(before);
      }
      // Cancelled meanwhile, or run already by one who died before this hint was gone.
    };
    try {
      while (taken == nullptr) {
        // It answers, though not through a channel: see linger().
        hungry_gets = 0;
        get_hint(memory_.tasks(), claim_task, Deadline::never());
      }
    } catch (const QueueShutDown&) {
      return nullptr;
    }
    return taken;
  }

  void do_task(TaskSlot& task) {
    const bool has_limit = TaskContext(task).has_limits();
    const std::int64_t submitted = task.submitted_at;
    std::int64_t started = 0;
    if (has_limit || submitted != 0) started = Deadline::now();
    if (has_limit) start_clock(started);
    const bool worked = call(task, started);
    leave_if_copy();
    if (has_limit) stop_clock();
    // What the task printed is seen when it is over, even if its worker is killed then.
    if (__fpending(stdout) != 0) std::fflush(stdout);
    finish(task, worked ? TaskState::finished : TaskState::failed);
    ++done_;
    auto& count = worked ? seat_.tasks_done : seat_.tasks_failed;
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (submitted != 0) {
      seat_.waiting.add(started - submitted);
      seat_.running.add(Deadline::now() - started);
    }
  }

  void start_clock(std::int64_t now) {
    seat_.started_at.store(now);
    // If killed here: the nursery hears of the death.
    ring_();
  }
  void stop_clock() { seat_.started_at.store(0); }

  // Whether it has a result, and not an exception.
  bool call(TaskSlot& task, std::int64_t started) {
    TaskContext context(task);
    try {
      const SoftLimit limit(task.soft_limit, started);
      task.code(context);
      return true;
    } catch (...) {
      give_exception(std::current_exception(), context.gives() ? "the task's result" : nullptr,
                     [&](std::span<const std::byte> bytes, const OutgoingCargo& cargo) {
                       TaskContext(task).give(bytes, cargo);
                     });
      return false;
    }
  }

  void finish(TaskSlot& task, TaskState state) {
    TaskWord now = task.now();
    while (now.state() == TaskState::running) {
      // If killed before this: the task was never done. Behind it: it is, whatever becomes of us.
      if (end_task(memory_, task, now, state)) {
        // If killed before this: the nursery asks the parent to look whether it was told.
        if (now.has(TaskWord::observed)) seat_.current.store(nullptr, std::memory_order_release);
        return;
      }
      now = task.now();
    }
    wait_for_death();
  }

  // Somebody has decided that this worker dies for the task. Not to take another one:
  [[noreturn]] static void wait_for_death() {
    while (true) ::pause();
  }

  PoolMemory& memory_;
  Seat& seat_;
  std::uint16_t seat_number_;
  WorkerSettings& settings_;
  FunctionRef<void()> ring_;
  std::uint64_t done_ = 0;
};

}  // namespace

void work(PoolMemory& memory, std::uint16_t seat, WorkerSettings& settings,
          FunctionRef<void()> ring) {
  own_seat = &memory.state().seats()[seat];
  own_seat->worker.store(this_process());
  if (settings.initializer) settings.initializer();
  own_seat->is_ready.store(1);
  Worker(memory, seat, settings, ring).run();
}

void save_exception(OutArchive& out, const std::exception_ptr& exception) {
  encode_exception(out, exception);
}
std::exception_ptr load_exception(InArchive& in) { return decode_exception(in); }

// ---- TaskContext

TaskContext::TaskContext(TaskSlot& slot) noexcept
    : slot_(slot), fork_depth_(fork_depth), runs_at_(fork_depth) {}

void TaskContext::leave() noexcept { ::_exit(0); }

std::span<const std::byte> TaskContext::arguments() const noexcept {
  const std::byte* at =
      slot_.arguments_block ? slot_.arguments_block.address() : slot_.arguments.data();
  return {at, slot_.arguments_length};
}

void TaskContext::claim_cargo(IncomingCargo& cargo) const {
  cargo.clear();
  if (slot_.arguments_cargo) detail::claim_cargo(*slot_.arguments_cargo, cargo);
}

TaskContext TaskContext::shared(void* address) noexcept {
  return TaskContext(*static_cast<TaskSlot*>(address));
}

std::byte* TaskContext::make_result(std::size_t size) {
  slot_.result_length.store(size, std::memory_order_relaxed);
  if (size <= TaskSlot::result_size && !slot_.result_block) return slot_.result.data();
  // A worker that died may have left the block of an exception.
  if (slot_.result_block && Heap::room_in(slot_.result_block) < size) {
    Heap::free_from(slot_.result_block);
  }
  std::byte* to = Heap::allocate_into(slot_.result_block, size);
  if (Heap::is_run(size)) populate(to, size);
  return to;
}

void TaskContext::give(std::span<const std::byte> bytes, const OutgoingCargo& cargo) {
  leave_if_copy();
  // What is done of a chunk goes with the block: who runs it again begins with its first item.
  if (slot_.progress.load(std::memory_order_relaxed) != 0) slot_.progress.store(0);
  // A worker that died may have left a place filled, or half filled.
  // If killed here: the old block stays, and is not believed.
  if (slot_.result_block) Heap::free_from(slot_.result_block);
  if (slot_.result_cargo) unload_cargo(slot_.result_cargo);
  std::byte* to = make_result(bytes.size());
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  if (cargo.empty()) return;
  load_cargo_once(slot_.result_cargo, cargo);
}

std::size_t TaskContext::progress() const noexcept { return slot_.progress.load(); }

bool TaskContext::has_limits() const noexcept { return (slot_.soft_limit | slot_.hard_limit) != 0; }

bool TaskContext::keeps_progress() const noexcept {
  return has_limits() || slot_.retries.load(std::memory_order_relaxed) != 0;
}

void TaskContext::next_item(std::size_t done) noexcept {
  constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
  slot_.progress.store(static_cast<std::uint32_t>(std::min(done, most)));
  // Each item has the whole time.
  if (own_seat != nullptr && has_limits()) {
    const std::int64_t now = Deadline::now();
    SoftLimit::begin_anew(now);
    own_seat->started_at.store(now);
  }
}

}  // namespace kin::detail

namespace kin {

bool stop_requested() noexcept {
  using detail::own_seat;
  using detail::SoftLimit;
  if (SoftLimit::is_set()) return SoftLimit::has_passed();
  // A thread that the task has started: the nursery tells. In a child that the task has forked nobody.
  if (own_seat == nullptr ||
      own_seat->worker.load(std::memory_order_relaxed) != detail::this_process_or_none()) {
    return false;
  }
  // A request for the task before this one is none for this one.
  const std::int64_t started = own_seat->started_at.load(std::memory_order_relaxed);
  return started != 0 && own_seat->stop_for.load(std::memory_order_relaxed) == started;
}

}  // namespace kin
