// SPDX-License-Identifier: BSL-1.0
//
// Counts of kills for want of memory, in folders that look like the kernel's.

#include "os/memory_kills.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

namespace {

class Counts {
 public:
  explicit Counts(const std::string& groups_of_process) {
    write("groups", groups_of_process);
    write("vmstat", "oom_kill_disable 5\noom_kill 100\nlater 7");
  }
  Counts(const Counts&) = delete;
  Counts& operator=(const Counts&) = delete;
  ~Counts() { std::filesystem::remove_all(root_); }

  void write(const std::filesystem::path& file, const std::string& text) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }
  [[nodiscard]] std::uint64_t kills() const {
    return kin::detail::memory_kills(root_ / "groups", root_, root_ / "vmstat");
  }

 private:
  std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("memory_kills_test." + std::to_string(::getpid()));
};

}  // namespace

TEST_SUITE("memory_kills") {
  TEST_CASE("without a group that tells it is the machine's") {
    CHECK(Counts("").kills() == 100);
    const Counts root("0::/");
    CHECK(root.kills() == 100);
    root.write("vmstat", "nr_free_pages 3");  // an old kernel
    CHECK(root.kills() == 0);
  }

  TEST_CASE("version 2: the group's, or that of the nearest above it that can be seen") {
    const Counts counts("0::/outside/a");
    counts.write("memory.events", "low 1\noom 2\noom_kill 3\noom_group_kill 4");
    CHECK(counts.kills() == 3);
    counts.write("outside/a/memory.events", "oom_kill 5");
    CHECK(counts.kills() == 5);
  }

  TEST_CASE("version 1: the group of the memory controller") {
    const Counts counts("9:pids:/x\n4:memory:/x\n0::/");
    counts.write("pids/x/memory.oom_control", "oom_kill 8");
    counts.write("memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2");
    CHECK(counts.kills() == 2);
  }
}
