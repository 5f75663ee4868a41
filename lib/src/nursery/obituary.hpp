// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "nursery/pool_state.hpp"

#include <cstdint>

#include <sys/types.h>

namespace kin::detail {

/// How a worker ended.
struct WorkerDeath {
  std::uint16_t seat = 0;
  pid_t pid = 0;
  int exit_code = 0;  // -SIGKILL and so on for a signal
  bool out_of_memory = false;
};

/// What becomes of the task of a worker that is dead: it fails, or waits in its seat for the next worker
/// there, or was over. The nursery's, for each of the dead; afterwards the seat is free.
/// If killed in it: the parent ends all tasks, since its nursery is dead.
void settle(PoolMemory& memory, const WorkerDeath& death);

/// A task that waits in its seat for the next worker there was called off: it ends without one. The
/// nursery's, for a seat that has no worker; does nothing about others.
/// If killed in it: as settle().
void settle_cancelled(PoolMemory& memory, std::uint16_t number);

}  // namespace kin::detail
