// SPDX-License-Identifier: BSL-1.0
//
// Counts of kills for want of memory, in folders that look like the kernel's; and one such kill of the kernel's,
// where this process may make control groups.

#include "os/memory_kills.hpp"

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

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

// A control group of this test's, for processes that may have so much memory and no swap.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::size_t most_bytes) {
    const std::string name = "kin_memory_kills_test." + std::to_string(::getpid());
    const std::filesystem::path root = "/sys/fs/cgroup";
    const std::string most = std::to_string(most_bytes);
    if (std::ifstream(root / "memory" / "memory.limit_in_bytes")) {
      make(root / "memory" / name);
      can_be_ = tell("memory.limit_in_bytes", most);
      static_cast<void>(tell("memory.memsw.limit_in_bytes", most));
    } else {
      make(root / name);
      can_be_ = tell("memory.max", most);
      static_cast<void>(tell("memory.swap.max", "0"));
    }
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    // The kernel counts what has just ended for a moment yet.
    CHECK(unit::eventually([&] { return ::rmdir(path_.c_str()) == 0 || errno == ENOENT; }));
  }

  [[nodiscard]] bool can_be() const { return can_be_; }
  [[nodiscard]] bool enter() const { return tell("cgroup.procs", std::to_string(::getpid())); }

 private:
  void make(std::filesystem::path path) {
    path_ = std::move(path);
    std::error_code refused;
    std::filesystem::create_directory(path_, refused);
  }
  [[nodiscard]] bool tell(const char* file, const std::string& what) const {
    std::ofstream to(path_ / file, std::ios::in);  // it is there, or not to be had
    to << what << std::flush;
    return to.good();
  }

  std::filesystem::path path_;
  bool can_be_ = false;
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

  TEST_CASE("a worker that the kernel kills to have its memory is told from others") {
    constexpr std::size_t most = std::size_t{100} << 20;
    const MemoryGroup group(most);
    if (!group.can_be()) {
      MESSAGE("not shown: no control group for memory can be made here");
      return;
    }
    const unit::Frame frame;
    unit::Relative family([&]() -> std::string {
      if (!group.enter()) return "could not enter the group";
      kin::Pool pool(1);
      const auto take = [](std::size_t bytes) {
        return std::vector<char>(bytes, 'x').at(bytes - 1);
      };
      static_cast<void>(pool.apply(take, most / 4));
      std::string said;
      try {
        static_cast<void>(pool.apply(take, 4 * most));
      } catch (const kin::WorkerDied& died) {
        said = died.what();
      }
      // Another worker is at work, whom only the signal tells of.
      try {
        pool.apply([] { static_cast<void>(::raise(SIGKILL)); });
      } catch (const kin::WorkerDied& died) {
        if (std::string(died.what()).find("memory") != std::string::npos) said += " as all others";
      }
      return said;
    });
    const std::string said = family.answer();
    CHECK(said.find("SIGKILL") != std::string::npos);
    CHECK(said.find("to have its memory") != std::string::npos);
    CHECK(said.find("as all others") == std::string::npos);
  }
}
