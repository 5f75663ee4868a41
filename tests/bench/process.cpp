// SPDX-License-Identifier: BSL-1.0

// Start and join of a Process whose function does nothing, beside bare fork, _exit and waitpid.
//
// The bare loop runs in a program of its own (bare/fork.cpp), in turns with kin's: in this one kin's
// atfork handlers would run too. It is linked with the same shared libraries as this one, so that a
// fork copies a process of about the same size; both sizes are printed.

#include "peer_program.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <unistd.h>

namespace {

using bench::Table;

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
  bench::PeerProgram forks("bench_bare_fork");
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
