// SPDX-License-Identifier: BSL-1.0

#include <kin/detail/process_engine.hpp>

#include "base/log_text.hpp"
#include "pool/finishing.hpp"
#include "pool/worker_pool.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/log.hpp>

#include <stdexcept>
#include <string>

namespace kin::detail {

std::shared_ptr<ProcessEngine> ProcessEngine::start(PoolSettings settings) {
  if (settings.workers < 1 || settings.workers > std::ptrdiff_t{PoolState::most_seats}) {
    throw std::invalid_argument("kin: a pool has between 1 and " +
                                std::to_string(PoolState::most_seats) + " processes, not " +
                                std::to_string(settings.workers));
  }
  if (settings.max_tasks < 0) {
    throw std::invalid_argument("kin: max_tasks_per_child has to be at least 1");
  }
  return std::make_shared<ProcessEngine>(std::move(settings));
}

ProcessEngine::ProcessEngine(PoolSettings settings)
    : pool_(std::make_unique<WorkerPool>(*this, std::move(settings))) {}

ProcessEngine::~ProcessEngine() {
  if (pool_->is_own_process()) {
    pool_->end();
  } else {
    // A copy in a child: its thread and its processes are another's.
    static_cast<void>(pool_.release());
  }
}

std::size_t ProcessEngine::workers() const noexcept { return pool_->state().seat_count; }

namespace {
PoolTask& own(Task& task) { return static_cast<PoolTask&>(task); }
}  // namespace

// A task that lends its arguments has none.
void ProcessEngine::check_code_of_task(TaskCode code, const std::type_info& function) const {
  if (code == nullptr) return;
  check_calling_code(reinterpret_cast<const void*>(code), function, images_);
}

TaskRef ProcessEngine::hold(TaskCode code, std::span<const std::byte> arguments,
                            const OutgoingCargo& cargo, const TaskLimits& limits,
                            const std::type_info& function) {
  check_code_of_task(code, function);
  return pool_->hold(code, arguments, cargo, limits, function);
}
std::byte* ProcessEngine::make_arguments(Task& task, std::size_t size) {
  return pool_->make_arguments(own(task).slot(), size);
}
void ProcessEngine::lend(Task& task, const TaskRef& held) noexcept { own(task).lent = held; }
void ProcessEngine::make_result(Task& task, std::size_t size) {
  pool_->make_result(own(task).slot(), size);
}
TaskContext ProcessEngine::context_of(Task& task) noexcept { return TaskContext(own(task).slot()); }

void ProcessEngine::queue(Task& task) { pool_->queue(own(task)); }

TaskRef ProcessEngine::submit(TaskCode code, std::span<const std::byte> arguments,
                              const OutgoingCargo& cargo, const TaskLimits& limits,
                              const std::type_info& function) {
  check_code_of_task(code, function);
  TaskRef task = pool_->hold(code, arguments, cargo, limits, function);
  pool_->queue(own(*task));
  return task;
}

void ProcessEngine::close() { pool_->close(); }
void ProcessEngine::terminate() noexcept { pool_->terminate(); }
void ProcessEngine::kill() noexcept { pool_->kill(); }
void ProcessEngine::cancel_pending() noexcept { pool_->cancel_pending(); }
bool ProcessEngine::join(Deadline deadline) { return pool_->join(deadline); }
void ProcessEngine::end() noexcept {
  if (pool_->is_own_process()) pool_->end();
}

void ProcessEngine::finish() noexcept {
  if (pool_->is_own_process()) pool_->finish();
}

void ProcessEngine::finish_at_end() noexcept {
  if (!pool_->is_own_process()) return;
  const SoftLimit no_limit;
  try {
    pool_->close();
    pool_->join(Deadline::never());
  } catch (const std::exception& error) {
    log_text(LogLevel::error,
             [&] { return std::string("at the end of the program: ") + error.what(); });
  }
}

void finish_at_exit(const std::shared_ptr<ProcessEngine>& engine) { Finishing::add(engine); }

std::vector<pid_t> ProcessEngine::worker_pids() const {
  pool_->check_process();
  std::vector<pid_t> pids;
  for (const Seat& seat : pool_->state().seats()) {
    if (const pid_t pid = seat.pid.load(); pid != 0) pids.push_back(pid);
  }
  return pids;
}

}  // namespace kin::detail
