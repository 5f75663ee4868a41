// SPDX-License-Identifier: BSL-1.0
//
// How many processors a process may use: those of its affinity, unless its control groups grant it
// less time. A group's limit is that of the tightest among itself and those above it; in a container
// some of them can't be seen, and the path may begin outside: whatever part of it exists is looked at.

#include "os/cpu_count.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

namespace kin::detail {
namespace {

using std::filesystem::path;

// cpu.max of version 2: "200000 100000" or "max 100000". Of version 1: two files with a number each,
// -1 where there is no limit.
std::optional<double> quota_of_group(const path& group) {
  double quota = -1;
  double period = 0;
  if (std::ifstream both(group / "cpu.max"); both) {
    both >> quota >> period;  // "max" is no number
  } else {
    std::ifstream(group / "cpu.cfs_quota_us") >> quota;
    std::ifstream(group / "cpu.cfs_period_us") >> period;
  }
  if (quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

void tighten(std::optional<double>& least, const path& mounted, path group) {
  for (group = group.relative_path();; group = group.parent_path()) {
    if (const auto quota = quota_of_group(mounted / group); quota) {
      least = least ? std::min(*least, *quota) : *quota;
    }
    if (group.empty()) return;
  }
}

bool names_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

int processors_of_affinity() {
  for (std::size_t most = 1024; most <= 1U << 20; most *= 2) {
    std::vector<cpu_set_t> set(most / 8 / sizeof(cpu_set_t));
    const std::size_t size = set.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, size, set.data()) == 0) return CPU_COUNT_S(size, set.data());
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

// A line is "number:controllers:path"; version 2 has number 0 and no controllers.
std::optional<double> cpu_quota(const path& groups, const path& root) {
  std::optional<double> least;
  std::ifstream file(groups);
  for (std::string line; std::getline(file, line);) {
    std::istringstream parts(line);
    std::string number;
    std::string controllers;
    std::string group;
    std::getline(parts, number, ':');
    std::getline(parts, controllers, ':');
    std::getline(parts, group);
    if (controllers.empty()) {
      tighten(least, root, group);
    } else if (names_cpu(controllers)) {
      tighten(least, root / controllers, group);
      if (controllers != "cpu") tighten(least, root / "cpu", group);
    }
  }
  return least;
}

int usable_cpus(const path& groups, const path& root) {
  int count = processors_of_affinity();
  if (const auto quota = cpu_quota(groups, root); quota) {
    count = static_cast<int>(std::min<double>(count, std::ceil(*quota)));
  }
  return std::max(count, 1);
}

}  // namespace kin::detail
