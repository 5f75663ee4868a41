// SPDX-License-Identifier: BSL-1.0
//
// The parent's side of a pool while it is open; ending.cpp has its end. Tasks are written into slots in
// shared memory and hinted at in a queue; who waits for one looks at its slot. Between a submit and a get
// there is no thread of the parent's and no system call, unless somebody sleeps.
//
// A slot is in use as long as a TaskRef names its task. A task that nobody refers to before it is over
// is put aside; its slot is used again when it is.

#include "pool/worker_pool.hpp"

#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "nursery/house_process.hpp"
#include "nursery/nursery.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <sys/eventfd.h>

namespace kin::detail {
namespace {

// Every task is measured until so many were submitted, and one of so many after that.
constexpr std::uint64_t all_measured = 1024;
constexpr std::uint64_t one_measured_of = 16;

// How many of those that were put aside a submit looks at.
constexpr int looks_aside = 2;

std::string next_pool_name() {
  static std::atomic<int> pools{0};
  return "Pool-" + std::to_string(++pools);
}

// One of which no worker knows: it is held again. False when it has ended meanwhile.
bool take_back(TaskSlot& slot) {
  TaskWord now = slot.now();
  while (now.state() == TaskState::queued) {
    std::uint64_t before = now.bits();
    if (slot.word.compare_exchange_strong(before, now.with(TaskState::held).bits())) return true;
    now = TaskWord(before);
  }
  return false;
}

}  // namespace

WorkerPool::WorkerPool(ProcessEngine& engine, PoolSettings settings)
    : engine_(engine),
      creator_(this_process()),
      name_(settings.name.empty() ? next_pool_name() : std::move(settings.name)),
      memory_(static_cast<std::uint32_t>(settings.workers)),
      bell_(
          away_from_stdio(UniqueFd(checked("eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))))),
      notices_(state().notices, {.on_notice = [this](TaskSlot& slot) { call_observers(slot); },
                                 .on_request = [this] { look_at_all(); },
                                 .on_pause = [this] { look_around(); }}) {
  start(std::move(settings));
}

void WorkerPool::start(PoolSettings settings) {
  warn_of_threads(name_, "its workers are forks");
  Nursery nursery(memory_, bell_.get(),
                  {.initializer = std::move(settings.initializer),
                   .max_tasks = static_cast<std::uint64_t>(settings.max_tasks),
                   .max_memory = settings.max_memory},
                  name_ + "-worker");
  process_.emplace(ProcessOptions{.name = name_ + "-nursery", .daemon = true},
                   [&nursery] { nursery.run(); });
  // Who waits for all the children that it has started would wait for the end of the pool.
  process_->hide();
  process_->start();
  nursery_.emplace(process_->handle());
  while (state().phase.load() == PoolState::starting && nursery_->is_alive()) {
    futex_wait_slice(state().phase, PoolState::starting, Deadline::never());
  }
  const std::uint32_t phase = state().phase.load();
  if (phase != PoolState::starting && phase != PoolState::failed) return;
  process_->join();
  if (phase == PoolState::failed) throw SystemError("fork", state().start_error.load());
  throw BrokenPool(name_ + ": its nursery (pid " + std::to_string(nursery_->pid()) +
                   ") died before there were workers");
}

void WorkerPool::check_process() const {
  if (!is_own_process()) {
    throw std::logic_error("kin: " + name_ + " belongs to the process that made it");
  }
}

// ---- submitting

PoolTask& WorkerPool::take_free() {
  // Relaxed: whoever put something aside a moment ago, it is looked at a moment later.
  if (has_aside_.load(std::memory_order_relaxed)) look_aside();
  const std::scoped_lock lock(mutex_);
  if (free_ == nullptr) add_block();
  PoolTask& task = *free_;
  free_ = task.next_free;
  if (free_ != nullptr) free_->slot().fetch_for_parent();
  task.is_measured = taken_ < all_measured || taken_ % one_measured_of == 0;
  ++taken_;
  if (in_use_++ == 0) self_ = engine_.shared_from_this();
  return task;
}

void WorkerPool::add_block() {
  // Whatever needs memory comes first: slots that are published can't be taken back, and a task that
  // is free has to stay. Where it throws, nothing has changed.
  auto tasks = std::make_unique<PoolTask[]>(PoolState::size_of_block(blocks_.size()));
  blocks_.reserve(blocks_.size() + 1);
  const std::span<TaskSlot> slots = add_slots(state());
  for (std::size_t i = slots.size(); i-- > 0;) {
    tasks[i].adopt(*this, slots[i]);
    slots[i].generation = 1;
    slots[i].number.store(
        static_cast<std::uint32_t>(blocks_.size() * PoolState::largest_block + i));
    tasks[i].next_free = free_;
    free_ = &tasks[i];
  }
  tasks_[blocks_.size()].store(tasks.get());
  blocks_.push_back(std::move(tasks));
}

void WorkerPool::look_aside() noexcept {
  for (int i = 0; i < looks_aside; ++i) {
    PoolTask* task = nullptr;
    {
      const std::scoped_lock lock(mutex_);
      has_aside_.store(!aside_.empty());
      if (aside_.empty()) return;
      task = aside_.front();
      aside_.pop_front();
      if (!task->slot().now().is_over()) {
        aside_.push_back(task);
        continue;
      }
    }
    recycle(*task);
  }
}

void WorkerPool::recycle(PoolTask& task) noexcept {
  task.lent = TaskRef();
  TaskSlot& slot = task.slot();
  for (Place* place : {&slot.arguments_block, &slot.result_block}) {
    if (!*place) continue;
    const std::scoped_lock lock(blocks_mutex_);
    give_back_block(state(), *place);
  }
  if (slot.arguments_cargo) unload_cargo(slot.arguments_cargo);
  if (slot.result_cargo) unload_cargo(slot.result_cargo);
  task.renew();
  // No hint fits from here on: they name the life before.
  if (++slot.generation == 0) ++slot.generation;
  slot.word.store(TaskWord(slot.generation, TaskState::free).bits(), std::memory_order_release);
  std::shared_ptr<ProcessEngine> last;  // let go of without the lock
  const std::scoped_lock lock(mutex_);
  task.next_free = free_;
  free_ = &task;
  if (--in_use_ == 0) last = std::move(self_);
}

void WorkerPool::put_aside(PoolTask& task) noexcept {
  {
    const std::scoped_lock lock(mutex_);
    aside_.push_back(&task);
    has_aside_.store(true);
  }
  if (is_over_.load()) clear_aside();
}

// All tasks are over, and nobody will submit another and look.
void WorkerPool::clear_aside() noexcept {
  const std::shared_ptr<ProcessEngine> alive = keep_alive();
  std::deque<PoolTask*> aside;
  {
    const std::scoped_lock lock(mutex_);
    std::swap(aside, aside_);
  }
  for (PoolTask* task : aside) recycle(*task);
}

TaskRef WorkerPool::hold(TaskCode code, std::span<const std::byte> arguments,
                         const OutgoingCargo& cargo, const TaskLimits& limits,
                         const std::type_info& function) {
  check_process();
  PoolTask& task = take_free();
  TaskSlot& slot = task.slot();
  // If killed from here on: the pool ends, and with it what the slot owns.
  slot.word.store(TaskWord(slot.generation, TaskState::held).bits(), std::memory_order_relaxed);
  TaskRef reference(task);
  slot.code = code;
  slot.soft_limit = limits.soft;
  slot.hard_limit = limits.hard;
  slot.retries.store(limits.retries, std::memory_order_relaxed);
  // Not written without need: the line is the worker's.
  if (slot.progress.load(std::memory_order_relaxed) != 0) {
    slot.progress.store(0, std::memory_order_relaxed);
  }
  if (slot.death.pid.load(std::memory_order_relaxed) != 0) {
    slot.death.pid.store(0, std::memory_order_relaxed);
  }
  task.function = &function;
  std::byte* to = make_arguments(slot, arguments.size());
  if (!arguments.empty()) std::memcpy(to, arguments.data(), arguments.size());
  if (!cargo.empty()) load_cargo_once(slot.arguments_cargo, cargo);
  return reference;
}

std::byte* WorkerPool::make_arguments(TaskSlot& slot, std::size_t size) {
  slot.arguments_length = size;
  if (size <= TaskSlot::arguments_size) return slot.arguments.data();
  const std::scoped_lock lock(blocks_mutex_);
  return take_block(state(), slot.arguments_block, size);
}

void WorkerPool::make_result(TaskSlot& slot, std::size_t size) {
  if (size <= TaskSlot::result_size) return;  // it has a place
  const std::scoped_lock lock(blocks_mutex_);
  take_block(state(), slot.result_block, size);
}

void WorkerPool::queue(PoolTask& task) {
  refuse_unless_open();
  TaskSlot& slot = task.slot();
  slot.submitted_at = task.is_measured ? Deadline::now() : 0;
  // Nobody else changes the word of a task that is held, but for the flag of one that is observed.
  const TaskWord held = slot.now();
  // SYNC task: publishes the slot; pairs with the compare-and-swap of the worker that takes it. The hint
  // that follows is behind a lock as well.
  slot.word.store(held.with(TaskState::queued).bits(), std::memory_order_release);
  try {
    put_hint(memory_.tasks(), TaskHint::to(slot, slot.generation));
  } catch (...) {
    // No worker has heard of it; but a nursery that was to end all tasks may have ended it: it tells why.
    if (!take_back(slot)) return;
    refuse_unless_open();
    throw;
  }
}

void WorkerPool::refuse_unless_open() const {
  // Before the phase, which changes before a pool that was not killed is over.
  const bool is_over = is_over_.load();
  const std::uint32_t phase = state().phase.load();
  if (phase == PoolState::open && !is_over) return;
  if (phase == PoolState::broken || phase == PoolState::open) throw BrokenPool(why_broken());
  throw std::logic_error("kin: " + name_ + " takes no more tasks: it was " +
                         (phase == PoolState::closing ? "closed" : "terminated"));
}

std::string WorkerPool::why_broken() const {
  if (state().phase.load() != PoolState::broken) {
    return name_ + ": its nursery (pid " + std::to_string(nursery_->pid()) +
           ") was killed, and its workers with it";
  }
  std::string why = name_ + ": its workers can't start: ";
  for (const auto& letter : state().why_broken) {
    if (letter.load() == '\0') break;
    why += letter.load();
  }
  return why;
}

// ---- notices

void WorkerPool::start_notices() {
  if (has_notices_.load(std::memory_order_acquire)) return;
  const std::scoped_lock lock(mutex_);
  notices_.start();
  has_notices_.store(true, std::memory_order_release);
}

PoolTask& WorkerPool::task_of(const TaskSlot& slot) noexcept {
  const std::uint32_t number = slot.number.load(std::memory_order_relaxed);
  PoolTask* const block = tasks_[number / PoolState::largest_block].load(std::memory_order_acquire);
  return block[number % PoolState::largest_block];
}

// In the notices' thread, as what follows.
void WorkerPool::call_observers(const TaskSlot& slot) {
  // At the end of a pool one may be called off and buried at once: then its notice comes behind its life.
  if (!slot.now().is_over()) return;
  PoolTask& task = task_of(slot);
  if (const TaskRef self = task.take_notice()) task.call_observers();
}

void WorkerPool::look_around() {
  const std::shared_ptr<ProcessEngine> alive = keep_alive();
  look_after_nursery(Deadline::at(Deadline::now() + slice_nanoseconds));
}

// For those of which a dead one did not come to tell. Whoever lives and has ended a task posts it: then it is
// not to be in use for something else.
void WorkerPool::look_at_all() {
  const std::shared_ptr<ProcessEngine> alive = keep_alive();
  const bool all_are_dead = is_over_.load();
  for (std::size_t block = 0; block < state().block_count.load(); ++block) {
    for (const TaskSlot& slot : state().slots(block)) {
      const TaskWord now = slot.now();
      if (!now.is_over() || (!all_are_dead && slot.untold.load() != now.generation())) continue;
      call_observers(slot);
    }
  }
}

// The last of the tasks keeps the pool alive, and may go when its observers were called. Null when it ends
// already: that waits for this thread.
std::shared_ptr<ProcessEngine> WorkerPool::keep_alive() const {
  return engine_.weak_from_this().lock();
}

}  // namespace kin::detail
