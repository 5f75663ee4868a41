// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "nursery/pool_state.hpp"
#include "nursery/worker.hpp"

#include <kin/process.hpp>

#include <string>

namespace kin::detail {

/// The process that a pool's workers are children of: forks them, replaces those that died, says
/// what became of the tasks of the dead, and kills for time limits. It has one thread and was forked
/// when the pool was made; so all workers see the memory as it was then, and no lock that another
/// thread held meanwhile.
class Nursery {
 public:
  /// In the parent. `bell` is an eventfd that wakes the nursery.
  Nursery(PoolMemory& memory, int bell, WorkerSettings settings, std::string worker_name);

  /// What the nursery's process does; returns when all is done.
  void run();

 private:
  class Watch;

  PoolMemory& memory_;
  int bell_;
  WorkerSettings settings_;
  std::string worker_name_;
};

}  // namespace kin::detail
