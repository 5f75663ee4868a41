// SPDX-License-Identifier: BSL-1.0
//
// Pools in a manager's server. Calls of the server's only thread must not wait; so a call that asks for a
// result is parked, and who knows that the result is there, a thread of the pool's, sends the server a
// request to look again. Then the server's thread calls the task's callbacks, too: nobody waits for that one.

#include <kin/detail/pool_store.hpp>

#include "base/log_text.hpp"
#include "base/own_thread.hpp"
#include "manager/manager_state.hpp"
#include "manager/server.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>

namespace kin::detail {

Nudge::Nudge(const Object& hosted) noexcept
    : state_(static_cast<const HostedObject&>(hosted).manager),
      index_(static_cast<const HostedObject&>(hosted).index),
      generation_(static_cast<const HostedObject&>(hosted).generation) {}

void Nudge::operator()() const noexcept {
  // As a withdrawal, behind which the calls that are parked are tried; but of none.
  const RequestHead head{.code = nullptr,
                         .line = RequestHead::no_line,
                         .sequence = 0,
                         .index = index_,
                         .generation = generation_,
                         .flags = 0,
                         .limit = 0};
  while (true) {
    try {
      NoLine no_line;
      put(*state_->requests, std::as_bytes(std::span(&head, 1)), {}, no_line, Deadline::never());
      return;
    } catch (const std::bad_alloc&) {
      // Nobody else tells who waits.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    } catch (const std::exception&) {
      return;  // the manager is being shut down
    }
  }
}

void require_code_in_server(const void* code) { Server::here().check_code(code, typeid(void)); }

void CalledBack::settle() noexcept {
  // A callback may ask for the result itself.
  if (is_settled_ || !task_->is_ready()) return;
  is_settled_ = true;
  try {
    call(*task_);
  } catch (const std::exception& error) {
    log_text(LogLevel::error,
             [&] { return "a callback of " + task_->name() + " threw: " + error.what(); });
  } catch (...) {
    log_text(LogLevel::error,
             [&] { return "a callback of " + task_->name() + " threw what is no std::exception"; });
  }
}

class CallsDue {
 public:
  using List = std::list<std::shared_ptr<CalledBack>>;
  explicit CallsDue(const Nudge& nudge) noexcept : nudge_(nudge) {}

  /// Takes no memory: who tells could not do anything else without.
  void add(List one) noexcept {
    bool is_first = false;
    {
      const std::scoped_lock lock(mutex_);
      is_first = due_.empty();
      due_.splice(due_.end(), one);
    }
    if (is_first) nudge_();
  }
  [[nodiscard]] List take() noexcept {
    const std::scoped_lock lock(mutex_);
    return std::exchange(due_, {});
  }

 private:
  std::mutex mutex_;
  List due_;
  Nudge nudge_;
};

PoolStore::PoolStore(PoolOptions options)
    : pool_(std::make_unique<HostedPool>(std::move(options))) {}

PoolStore::~PoolStore() {
  // A second at most, if its workers won't go.
  pool_->terminate();
  if (joiner_.joinable()) joiner_.join();
  pool_.reset();
  // What it did not come to do is cancelled.
  if (!Server::here().is_ending()) nudged({});
}

void PoolStore::is_hosted_as(const Object& hosted) {
  nudge_.emplace(hosted);
  due_ = std::make_shared<CallsDue>(*nudge_);
}

void PoolStore::nudged(Nudged /*what*/) noexcept {
  if (!due_) return;
  for (const std::shared_ptr<CalledBack>& one : due_->take()) one->settle();
}

Callback<void()> PoolStore::when_over(std::shared_ptr<CalledBack> called_back) const {
  return [due = due_, one = CallsDue::List{std::move(called_back)}]() mutable {
    due->add(std::move(one));
  };
}

bool PoolStore::join() {
  if (pool_->join_for(std::chrono::nanoseconds(0))) return true;
  if (joiner_.joinable()) return false;
  joiner_ = start_own_thread([this] {
    try {
      pool_->join();
    } catch (const std::exception& error) {
      log_text(LogLevel::error, [&] {
        return std::string("a manager's pool could not be joined: ") + error.what();
      });
    }
    (*nudge_)();
  });
  return false;
}

Handle host_pool(managed::PoolOptions options, Initializer initializer) {
  auto object = std::make_unique<HostedOf<PoolStore>>(
      PoolOptions{.processes = options.processes,
                  .initializer = std::move(initializer),
                  .max_tasks_per_child = options.max_tasks_per_child,
                  .max_memory_per_child = options.max_memory_per_child,
                  .name = std::move(options.name)});
  PoolStore& store = object->value;
  Handle handle = HostRoot().host(std::move(object), typeid(PoolStore));
  store.is_hosted_as(handle.object());
  return handle;
}

}  // namespace kin::detail
