// SPDX-License-Identifier: BSL-1.0
//
// demo: a race: the runners start together, and wait for one another at the end of each stage
//
// A barrier is where a number of parties wait until all of them are there. Without one the first runner is
// at the end before the last is there, and who relies on what others did in the stage before is wrong.

#include <kin/kin.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <iostream>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int runners = 5;
constexpr int stages = 3;

// How many stages each has behind it; each writes its own.
using Positions = std::array<int, runners>;

// How many of the others are behind a runner that has finished this stage.
int others_behind(const Positions& positions, int stage) {
  int behind = 0;
  for (const int position : positions) behind += position < stage ? 1 : 0;
  return behind;
}

// Lets each runner run all stages; `meet` is called before the first one and behind each. Returns how
// often a runner that went on left somebody behind.
template <typename Meet>
int race(Meet meet) {
  const kin::Value<Positions> positions;
  const kin::Value<int> left_behind(0);
  std::vector<kin::Process> processes;
  for (int runner = 0; runner < runners; ++runner) {
    processes
        .emplace_back([=] {
          meet();
          for (int stage = 1; stage <= stages; ++stage) {
            positions.with([&](Positions& all) { all[static_cast<std::size_t>(runner)] = stage; });
            meet();
            left_behind.fetch_add(others_behind(positions.load(), stage));
          }
        })
        .start();
  }
  for (kin::Process& process : processes) process.join();
  return left_behind.load();
}

void without_a_barrier() {
  std::cout << "wrong: each runs as soon as it is there\n";
  const auto moment = std::chrono::steady_clock::now() + 2s;
  int left_behind = 0;
  do {  // a second time only if by chance all kept step
    left_behind = race([] {});
  } while (left_behind == 0 && std::chrono::steady_clock::now() < moment);
  if (left_behind > 0) std::cout << "  some went on while others had not come so far\n";
}

void with_a_barrier() {
  std::cout << "right: a barrier before the first stage, and behind each\n";
  // The last to arrive calls it, before anybody goes on: each time another process, so what it is to
  // remember is in shared memory.
  const kin::Value<int> passes(0);
  const auto gun = [passes] {
    const int pass = passes.fetch_add(1);
    if (pass == 0) {
      std::cout << "  all " << runners << " are here: go" << std::endl;
    } else {
      std::cout << "  all " << runners << " have finished stage " << pass << std::endl;
    }
  };
  const kin::Barrier barrier(runners, gun);
  const int left_behind = race([barrier] { barrier.wait(); });
  std::cout << "  left behind: " << left_behind << '\n';
}

void a_runner_falls() {
  std::cout << "one is killed in the second stage: the others don't wait for it\n";
  const kin::Barrier barrier(runners);
  const kin::Queue<std::string> told;
  std::vector<kin::Process> processes;
  for (int runner = 0; runner < runners; ++runner) {
    processes
        .emplace_back([=] {
          barrier.wait();
          if (runner == 0) std::raise(SIGKILL);
          try {
            barrier.wait();
          } catch (const kin::BrokenBarrierError& error) {
            told.put(error.what());
          }
        })
        .start();
  }
  for (kin::Process& process : processes) process.join();
  std::cout << "  " << told.size() << " runners were told: " << told.get() << '\n';
}

}  // namespace

int main() {
  without_a_barrier();
  with_a_barrier();
  a_runner_falls();
}
