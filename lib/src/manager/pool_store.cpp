// SPDX-License-Identifier: BSL-1.0
//
// Pools in a manager's server. Calls of the server's only thread must not wait; so a call that asks for a
// result is parked, and who knows that the result is there, a thread of the pool's, sends the server a
// request to look again.

#include <kin/detail/pool_store.hpp>

#include "base/signal_mask.hpp"
#include "manager/manager_state.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <chrono>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace kin::detail {

Nudge::Nudge(const Object& hosted) noexcept
    : state_(static_cast<const HostedObject&>(hosted).manager),
      index_(static_cast<const HostedObject&>(hosted).index),
      generation_(static_cast<const HostedObject&>(hosted).generation) {}

void Nudge::operator()() const noexcept {
  // The withdrawal of a call that nobody has made: behind one, those that are parked are tried.
  const RequestHead head{.code = nullptr,
                         .line = UINT32_MAX,
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

PoolStore::PoolStore(PoolOptions options) : pool_(std::move(options)) {}

PoolStore::~PoolStore() {
  // A second at most, if its workers won't go.
  pool_.terminate();
  if (joiner_.joinable()) joiner_.join();
}

bool PoolStore::join() {
  if (pool_.join_for(std::chrono::nanoseconds(0))) return true;
  if (joiner_.joinable()) return false;
  const SignalsBlocked blocked;
  try {
    joiner_ = std::thread([this] {
      try {
        pool_.join();
      } catch (const std::exception& error) {
        log(LogLevel::error, std::string("a manager's pool could not be joined: ") + error.what());
      }
      (*nudge_)();
    });
  } catch (const std::system_error& error) {
    throw SystemError("pthread_create", error.code().value());
  }
  return false;
}

Handle host_pool(ManagedPoolOptions options, Initializer initializer) {
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
