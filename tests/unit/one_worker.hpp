// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "pool/worker_pool.hpp"

namespace unit {

/// The least that a pool is made of.
inline kin::detail::PoolSettings one_worker() {
  kin::detail::PoolSettings settings;
  settings.workers = 1;
  return settings;
}

}  // namespace unit
