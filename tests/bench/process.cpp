// SPDX-License-Identifier: BSL-1.0

// Start and join of a Process whose function does nothing, beside bare fork, _exit and waitpid.
//
// The bare loop runs in a program of its own (bare/fork.cpp), in turns with kin's: in this one kin's
// atfork handlers would run too. It is linked with the same shared libraries as this one, so that a
// fork copies a process of about the same size; both sizes are printed.

#include "rounds.hpp"
#include "table.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using bench::Table;

// The bare program beside this one, asked through two pipes.
class BareForks {
 public:
  BareForks() {
    int questions[2];
    int answers[2];
    if (pipe2(questions, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, questions[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers[1], STDOUT_FILENO);
    std::string path = program();
    char* arguments[] = {path.data(), nullptr};
    const int error = posix_spawn(&pid_, path.c_str(), &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      std::fprintf(stderr, "can't run %s\n", path.c_str());
      std::exit(EXIT_FAILURE);
    }
    close(questions[0]);
    close(answers[1]);
    to_ = fdopen(questions[1], "w");
    from_ = fdopen(answers[0], "r");
  }
  BareForks(const BareForks&) = delete;
  BareForks& operator=(const BareForks&) = delete;
  ~BareForks() {
    std::fclose(to_);
    std::fclose(from_);
    waitpid(pid_, nullptr, 0);
  }

  double round(int count) {
    std::fprintf(to_, "%d\n", count);
    std::fflush(to_);
    double nanoseconds = 0;
    if (std::fscanf(from_, "%lf", &nanoseconds) != 1) std::abort();
    return nanoseconds;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  static std::string program() {
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    if (length < 0) std::abort();
    std::string name(path, static_cast<std::size_t>(length));
    return name.substr(0, name.rfind('/')) + "/bench/bench_bare_fork";
  }

  pid_t pid_ = 0;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

double round_of_kin(int count) {
  const double begin = bench::now();
  for (int i = 0; i < count; ++i) {
    kin::Process process([] {});
    process.start();
    process.join();
  }
  return (bench::now() - begin) / count;
}

std::string size_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::to_string(std::atoi(line.c_str() + 6)) + " KiB";
  }
  return "?";
}

std::string time_of(double nanoseconds) { return Table::number("%.0f us", nanoseconds / 1e3); }

}  // namespace

int main() {
  BareForks forks;
  constexpr int count = 100;
  bench::Contestant kin{[] { return round_of_kin(count); }};
  bench::Contestant bare{[&] { return forks.round(count); }};
  bench::take_turns(25, {&kin, &bare});

  Table table("process: start and join, best of 25 rounds taken in turns, 100 a round");
  table.add({.figure = "Process start and join",
             .measured = time_of(kin.best),
             .peer = "fork, _exit, waitpid without kin " + time_of(bare.best),
             .ratio = kin.best / bare.best,
             .want = Table::Want::at_most,
             .limit = 1.3});
  table.note("the ratio is of times, kin's to the peer's; resident: " + size_of(getpid()) +
             " with kin, " + size_of(forks.pid()) + " without");
  return table.print();
}
