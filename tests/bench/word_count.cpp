// SPDX-License-Identifier: BSL-1.0
//
// How much faster two processes of the demo word_count count than one, as the demo itself says with --check. Of
// files that were just written, so that they are in the page cache.

#include "table.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using bench::Table;

class Tree {
 public:
  Tree() {
    std::minstd_rand random(7);  // NOLINT(cert-msc51-cpp): the same each time
    for (int file = 0; file < files; ++file) {
      const fs::path directory = root_ / std::to_string(file % 10);
      fs::create_directories(directory);
      std::string text;
      while (text.size() < file_size) {
        text += "word_" + std::to_string(random() % 20'000) + (random() % 10 == 0 ? '\n' : ' ');
      }
      std::ofstream(directory / std::to_string(file)) << text;
    }
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() { fs::remove_all(root_); }
  [[nodiscard]] std::string path() const { return root_; }

  static constexpr int files = 400;
  static constexpr std::size_t file_size = std::size_t{1} << 20;

 private:
  fs::path root_ =
      fs::temp_directory_path() / ("kin-bench-word-count." + std::to_string(::getpid()));
};

struct Check {
  double alone = 0;  // seconds
  double speed_up = 0;
};

// What --check prints; zeroes where it could not be run, or found a difference.
Check check(const Tree& tree) {
  const fs::path own = fs::read_symlink("/proc/self/exe");
  const fs::path demo = own.parent_path().parent_path() / "demos" / "word_count";
  const std::string command = demo.string() + " --processes 2 --check " + tree.path();
  std::FILE* output = ::popen(command.c_str(), "r");
  if (output == nullptr) return {};
  Check found;
  char line[512];
  while (std::fgets(line, sizeof line, output) != nullptr) {
    static_cast<void>(std::sscanf(
        line, "check: one process counted the same in %lf s; speed-up with 2 counters: %lf",
        &found.alone, &found.speed_up));
  }
  return ::pclose(output) == 0 ? found : Check{};
}

}  // namespace

int main() {
  Table table("word_count: two processes beside one");
  const Tree tree;
  Check best;
  for (int round = 0; round < 5; ++round) {
    const Check one = check(tree);
    if (one.speed_up > best.speed_up) best = one;
  }
  table.add({.figure = "speed-up with two counters",
             .measured = Table::number("%.2f s", best.alone / std::max(best.speed_up, 0.01)),
             .peer = Table::number("one process %.2f s", best.alone),
             .ratio = best.speed_up,
             .want = Table::Want::at_least,
             .limit = 1.6});
  table.note("best of 5; 400 files of 1 MiB each, just written");
  return table.print();
}
