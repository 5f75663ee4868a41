// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <filesystem>
#include <optional>

namespace kin::detail {

/// How many processors' time the control groups of this process grant it; none: as much as there is.
/// `groups` is /proc/self/cgroup, `root` is /sys/fs/cgroup.
std::optional<double> cpu_quota(const std::filesystem::path& groups,
                                const std::filesystem::path& root);

/// See kin::cpu_count().
int usable_cpus(const std::filesystem::path& groups = "/proc/self/cgroup",
                const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace kin::detail
