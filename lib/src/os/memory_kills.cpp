// SPDX-License-Identifier: BSL-1.0
//
// Kills for want of memory. Nobody is told which process the kernel killed for that, and not of each kill;
// but it counts them, for each control group. In a container the path of the group may begin outside:
// whatever part of it exists is looked at.

#include "os/memory_kills.hpp"

#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace kin::detail {
namespace {

using std::filesystem::path;

// Lines of a name and a number.
std::optional<std::uint64_t> kills_in(const path& counts) {
  std::ifstream file(counts);
  std::string name;
  std::uint64_t value = 0;
  while (file >> name >> value) {
    if (name == "oom_kill") return value;
  }
  return std::nullopt;
}

// Of the group, or the nearest above it that can be seen.
std::optional<std::uint64_t> kills_of_group(const path& mounted, path group, const char* counts) {
  for (group = group.relative_path();; group = group.parent_path()) {
    if (const auto kills = kills_in(mounted / group / counts); kills) return kills;
    if (group.empty()) return std::nullopt;
  }
}

}  // namespace

// A line is "number:controllers:path"; version 2 has number 0 and no controllers.
std::uint64_t memory_kills(const path& groups, const path& root, const path& machine) {
  std::ifstream file(groups);
  for (std::string line; std::getline(file, line);) {
    std::istringstream parts(line);
    std::string number;
    std::string controllers;
    std::string group;
    std::getline(parts, number, ':');
    std::getline(parts, controllers, ':');
    std::getline(parts, group);
    std::optional<std::uint64_t> kills;
    if (controllers.empty()) kills = kills_of_group(root, group, "memory.events");
    if (controllers == "memory")
      kills = kills_of_group(root / "memory", group, "memory.oom_control");
    if (kills) return *kills;
  }
  return kills_in(machine).value_or(0);
}

std::uint64_t memory_kills() {
  return memory_kills("/proc/self/cgroup", "/sys/fs/cgroup", "/proc/vmstat");
}

}  // namespace kin::detail
