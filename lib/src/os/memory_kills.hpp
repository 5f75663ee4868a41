// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <filesystem>

namespace kin::detail {

/// How often the kernel has killed a process to have its memory: one of this process's control group, or,
/// where that does not tell, of the machine. `groups` is /proc/self/cgroup, `root` is /sys/fs/cgroup,
/// `machine` is /proc/vmstat.
std::uint64_t memory_kills(const std::filesystem::path& groups, const std::filesystem::path& root,
                           const std::filesystem::path& machine);

/// The same, of this process.
std::uint64_t memory_kills();

}  // namespace kin::detail
