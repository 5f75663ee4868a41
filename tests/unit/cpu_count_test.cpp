// SPDX-License-Identifier: BSL-1.0
//
// Quotas of control groups, in folders that look like the kernel's; and affinity, that of children.

#include "os/cpu_count.hpp"

#include "frame.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

#include <sched.h>
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
  [[nodiscard]] int usable_cpus() const {
    return kin::detail::usable_cpus(root_ / "groups", root_);
  }

 private:
  std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("cpu_count_test." + std::to_string(::getpid()));
};

// As many as are allowed, or fewer, by number.
cpu_set_t first_processors(int most) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  cpu_set_t first;
  CPU_ZERO(&first);
  for (std::size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&first) < most; ++i) {
    if (CPU_ISSET(i, &allowed)) CPU_SET(i, &first);
  }
  return first;
}

// What a child counts that may use those only.
std::string count_on(const cpu_set_t& processors, const Groups& groups) {
  return unit::answer_of([&] {
    if (::sched_setaffinity(0, sizeof processors, &processors) != 0) return std::string("refused");
    return std::to_string(groups.usable_cpus());
  });
}

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

  TEST_CASE_FIXTURE(unit::Frame, "the processors of the affinity, or fewer by the quota") {
    const Groups groups("0::/");
    const cpu_set_t all = first_processors(CPU_SETSIZE);
    for (const int most : {1, 2, 3}) {
      const cpu_set_t some = first_processors(most);
      CHECK(CPU_COUNT(&some) == std::min(most, CPU_COUNT(&all)));
      CHECK(count_on(some, groups) == std::to_string(CPU_COUNT(&some)));
    }
    CHECK(groups.usable_cpus() == CPU_COUNT(&all));

    // Part of a processor's time is one more that can be used.
    const cpu_set_t two = first_processors(2);
    const std::string count_of_two = std::to_string(CPU_COUNT(&two));
    groups.write("cpu.max", "20000 100000");
    CHECK(count_on(two, groups) == "1");
    groups.write("cpu.max", "100000 100000");
    CHECK(count_on(two, groups) == "1");
    groups.write("cpu.max", "100001 100000");
    CHECK(count_on(two, groups) == count_of_two);
    groups.write("cpu.max", "90000000 100000");
    CHECK(count_on(two, groups) == count_of_two);
    CHECK(count_on(first_processors(1), groups) == "1");
  }
}
