// SPDX-License-Identifier: BSL-1.0
//
// Quotas of control groups, in folders that look like the kernel's.

#include "os/cpu_count.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

namespace {

class Groups {
 public:
  explicit Groups(const std::string& groups_of_process) { write("groups", groups_of_process); }
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;
  ~Groups() { std::filesystem::remove_all(root_); }

  void write(const std::filesystem::path& file, const std::string& text) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }
  [[nodiscard]] std::optional<double> quota() const {
    return kin::detail::cpu_quota(root_ / "groups", root_);
  }

 private:
  std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("cpu_count_test." + std::to_string(::getpid()));
};

}  // namespace

TEST_SUITE("cpu_count") {
  TEST_CASE("no group, no quota") {
    CHECK_FALSE(Groups("").quota());
    CHECK_FALSE(Groups("0::/").quota());
  }

  TEST_CASE("version 2: the tightest of the group and those above it counts") {
    const Groups groups("0::/a/b");
    groups.write("a/b/cpu.max", "max 100000");
    CHECK_FALSE(groups.quota());
    groups.write("a/cpu.max", "250000 100000");
    CHECK(groups.quota() == 2.5);
    groups.write("a/b/cpu.max", "400000 100000");
    CHECK(groups.quota() == 2.5);
    groups.write("cpu.max", "50000 100000");
    CHECK(groups.quota() == 0.5);
  }

  TEST_CASE("version 1: the folder of the cpu controller") {
    const Groups groups("5:cpuset:/x\n3:cpu,cpuacct:/x\n0::/");
    groups.write("cpuset/x/cpu.cfs_quota_us", "100000");
    groups.write("cpuset/x/cpu.cfs_period_us", "100000");
    CHECK_FALSE(groups.quota());
    groups.write("cpu,cpuacct/x/cpu.cfs_quota_us", "-1");
    groups.write("cpu,cpuacct/x/cpu.cfs_period_us", "100000");
    CHECK_FALSE(groups.quota());
    groups.write("cpu,cpuacct/x/cpu.cfs_quota_us", "300000");
    CHECK(groups.quota() == 3);
  }

  TEST_CASE("in a container, where the path begins outside") {
    const Groups groups("3:cpu:/docker/1234");
    groups.write("cpu/cpu.cfs_quota_us", "150000");
    groups.write("cpu/cpu.cfs_period_us", "100000");
    CHECK(groups.quota() == 1.5);
  }
}
