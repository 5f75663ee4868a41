// SPDX-License-Identifier: BSL-1.0

// How long it takes until somebody is told of a deadlock: from when the last member of the ring has its
// own lock, and asks for the next one's, to the error. Processes and threads, locks and recursive locks in turn.

#include "rounds.hpp"
#include "table.hpp"

#include <kin/kin.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

namespace {

using bench::Table;

struct Ring {
  std::atomic<unsigned> ready;
  std::atomic<unsigned> told;
  std::atomic<std::int64_t> complete_at;  // nanoseconds
  std::atomic<std::int64_t> told_at;
};

std::int64_t nanoseconds() { return static_cast<std::int64_t>(bench::now()); }

// Takes its own lock, and when all have theirs the next one's.
template <typename Own, typename Next>
void take_part(Ring& ring, unsigned members, const Own& own, const Next& next) {
  const kin::LockGuard guard(own);
  if (++ring.ready == members) ring.complete_at = nanoseconds();
  while (ring.ready < members) std::this_thread::yield();
  try {
    const kin::LockGuard second(next);
  } catch (const kin::DeadlockError&) {
    ring.told_at = nanoseconds();
    ++ring.told;
  }
}

/// Seconds; none if not exactly one was told.
std::optional<double> time_until_told(unsigned processes, unsigned threads) {
  const bench::Shared<Ring> ring;
  const unsigned members = processes * threads;
  std::vector<std::variant<kin::Lock, kin::RLock>> locks;
  for (unsigned i = 0; i < members; ++i) {
    if (i % 2 == 0) {
      locks.emplace_back(kin::Lock());
    } else {
      locks.emplace_back(kin::RLock());
    }
  }
  std::vector<kin::Process> children;
  for (unsigned p = 0; p < processes; ++p) {
    children.emplace_back([&, p] {
      std::vector<std::jthread> all;
      for (unsigned t = 0; t < threads; ++t) {
        // Neighbours in the ring are of different processes.
        const unsigned at = t * processes + p;
        all.emplace_back([&, at] {
          std::visit(
              [&](const auto& own, const auto& next) { take_part(*ring, members, own, next); },
              locks[at], locks[(at + 1) % members]);
        });
      }
    });
  }
  for (kin::Process& child : children) child.start();
  for (kin::Process& child : children) child.join();
  if (ring->told != 1) return std::nullopt;
  return static_cast<double>(ring->told_at - ring->complete_at) * 1e-9;
}

}  // namespace

int main() {
  constexpr int rounds = 3;
  constexpr double promised = 3;
  Table table("deadlock: from a complete ring to the error, the longest of 3 rounds");
  const auto add = [&](const char* figure, unsigned processes, unsigned threads) {
    double longest = 0;
    bool one_each = true;
    for (int i = 0; i < rounds; ++i) {
      const std::optional<double> seconds = time_until_told(processes, threads);
      one_each = one_each && seconds;
      longest = std::max(longest, seconds.value_or(0));
    }
    table.add({.figure = figure,
               .measured = Table::number("%.2f s", longest),
               .peer = "promised 3 s",
               .ratio = one_each ? longest / promised : 0,
               .want = Table::Want::at_most,
               .limit = 1});
  };
  add("2 processes", 2, 1);
  add("3 processes", 3, 1);
  add("4 processes of 4 threads", 4, 4);
  table.note("not measured: not exactly one member was told");
  return table.print();
}
