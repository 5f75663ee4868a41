// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "nursery/pool_state.hpp"

#include <kin/detail/initializer.hpp>

#include <cstdint>
#include <optional>

namespace kin::detail {

/// What the pool's maker wants of its workers.
struct WorkerSettings {
  Initializer initializer;
  std::uint64_t max_tasks = 0;   // 0: any number
  std::uint64_t max_memory = 0;  // bytes; 0: any
};

/// What a worker process does: initializes, takes tasks and runs them, until there is nothing more to
/// do or it has done enough. Returns then; throws what the initializer throws.
/// `ring` tells the nursery that a task with a limit has started.
void work(PoolMemory& memory, std::uint16_t seat, WorkerSettings& settings,
          FunctionRef<void()> ring);

}  // namespace kin::detail
