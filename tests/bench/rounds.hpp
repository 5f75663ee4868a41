// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/process.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/mman.h>
#include <time.h>

namespace bench {

/// Nanoseconds of the clock that all processes share.
inline double now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// Nanoseconds of processor time that this thread has had.
inline double own_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// A zeroed T in anonymous memory that children forked later share: what is measured is not used to
/// measure.
template <typename T>
class Shared {
 public:
  Shared() {
    void* place =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    value_.reset(::new (place) T{});
  }
  T& operator*() const { return *value_; }
  T* operator->() const { return value_.get(); }

 private:
  struct Unmap {
    void operator()(T* value) const { munmap(value, sizeof(T)); }
  };
  std::unique_ptr<T, Unmap> value_;
};

/// Where the processes of a round run. Two that share a processor do not contend: each runs alone
/// for a time slice, which is another figure altogether, and best of several would choose it.
enum class Placement { anywhere, apart, together };

/// Binds this process to the processor number `turn` of those that it may use.
inline void stay_on(std::size_t turn) {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  turn %= static_cast<std::size_t>(CPU_COUNT(&allowed));
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || turn-- > 0) continue;
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(cpu, &mine);
    sched_setaffinity(0, sizeof mine, &mine);
    return;
  }
}

/// Runs each role in a process of its own, all let go at once; nanoseconds from there to the end of
/// the last. The same for kin and its peers.
inline double time_together(Placement placement, const std::vector<std::function<void()>>& roles) {
  struct Gate {
    std::atomic<std::size_t> arrived;
    std::atomic<bool> open;
    std::atomic<double> last_end;
  };
  const Shared<Gate> gate;
  std::vector<kin::Process> processes;
  for (const auto& role : roles) {
    processes.emplace_back([&gate, &role, placement, turn = processes.size()] {
      if (placement == Placement::apart) stay_on(turn);
      if (placement == Placement::together) stay_on(0);
      gate->arrived.fetch_add(1);
      while (!gate->open.load()) sched_yield();
      role();
      const double end = now();
      double last = gate->last_end.load();
      while (last < end && !gate->last_end.compare_exchange_weak(last, end)) {
      }
    });
    processes.back().start();
  }
  while (gate->arrived.load() < roles.size()) sched_yield();
  const double begin = now();
  gate->open.store(true);
  for (kin::Process& process : processes) {
    process.join();
    if (process.exit_code() != 0) throw std::runtime_error("a process of the round failed");
  }
  return gate->last_end.load() - begin;
}

/// One of several things that are measured in turns, A B A B …, each best of its rounds.
struct Contestant {
  std::function<double()> round;  // less is better
  double best = std::numeric_limits<double>::max();
};

inline void take_turns(int rounds, std::vector<Contestant*> contestants) {
  for (int i = 0; i < rounds; ++i) {
    for (Contestant* each : contestants) each->best = std::min(each->best, each->round());
  }
}

/// Two that are measured in turns, of which the one of the middle ratio is told: for what varies from round to
/// round by itself, where the best of several would be the peer's luck beside our own.
class Duel {
 public:
  struct Turn {
    double ours;
    double theirs;
  };
  Duel(std::function<double()> ours, std::function<double()> theirs)
      : ours_(std::move(ours)), theirs_(std::move(theirs)) {}

  void take_turns(int turns) {
    for (int i = 0; i < turns; ++i) turns_.push_back({ours_(), theirs_()});
  }
  [[nodiscard]] Turn middle() const {
    std::vector<Turn> turns = turns_;
    const auto at = turns.begin() + static_cast<std::ptrdiff_t>(turns.size() / 2);
    std::ranges::nth_element(turns, at, {},
                             [](const Turn& turn) { return turn.ours / turn.theirs; });
    return *at;
  }

 private:
  std::function<double()> ours_;
  std::function<double()> theirs_;
  std::vector<Turn> turns_;
};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

}  // namespace bench
