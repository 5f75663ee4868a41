// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>

#include <sys/types.h>

namespace kin::detail {

/// What /proc/ID/stat says of a process or a thread; proc(5).
struct ProcessStat {
  char state = 0;                // 'R', 'S', 'Z' and so on; 0 where nothing could be read
  std::uint64_t start_time = 0;  // in ticks since boot: tells an id used again
};

/// No allocation, and no more of the C library than needed: it runs in every child, where each page that it
/// touches is a fault. What can't be read proves nothing.
ProcessStat process_stat(pid_t id) noexcept;

}  // namespace kin::detail
