// SPDX-License-Identifier: BSL-1.0
#pragma once

// What the soaks have in common: a hunter starts workers, kills one at random every few
// milliseconds, and starts another in its place; a watcher sees to it that things go on.
//
// Three generations: the watcher (main) forks the hunter, the hunter starts the workers as daemons.
// What they note for the accounts stands in anonymous shared memory of the test's own, so that it
// depends on nothing of what is tested, and is there whenever its writer is killed.

#include "memory/arena.hpp"
#include "memory/descriptor_store.hpp"
#include "memory/heap.hpp"
#include "memory/process_table.hpp"

#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace soak {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// ---- what everybody sees -------------------------------------------------------------------------

inline constexpr std::size_t worker_count = 8;

/// The place of one worker after the other.
struct Desk {
  alignas(64) std::atomic<pid_t> pid;
  std::atomic<std::uint64_t> progress;
  std::atomic<const char*> does;  // literals only: all are images of one program
};

struct Board {
  std::array<Desk, worker_count> desks;
  std::atomic<pid_t> hunter;
  std::atomic<std::uint64_t> steps;  // of the hunter, where it waits for workers and kills none
  std::atomic<const char*> stage;
  std::atomic<std::uint64_t> violations;
};

inline Board& board() {
  static const crash::SharedPage<Board> the_board;
  return *the_board;
}

/// Says what is wrong, at once, from any process; the soak fails at its end.
[[gnu::format(printf, 1, 2)]] inline void violation(const char* format, ...) {
  if (board().violations.fetch_add(1) >= 20) return;  // the first ones tell enough
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  dprintf(STDOUT_FILENO, "VIOLATION (pid %d): %s\n", static_cast<int>(getpid()), text);
}

inline void enter(const char* stage) {
  board().stage.store(stage);
  board().steps.fetch_add(1);
}

// ---- options and chance --------------------------------------------------------------------------

struct Options {
  double seconds = 10;
  std::uint32_t seed = std::random_device{}();
};

inline Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seconds") == 0) {
      options.seconds = std::atof(argv[i + 1]);
    } else if (std::strcmp(argv[i], "--seed") == 0) {
      options.seed = static_cast<std::uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
    } else {
      std::fprintf(stderr, "usage: %s [--seconds N] [--seed S]\n", argv[0]);
      std::exit(2);
    }
  }
  return options;
}

class Chance {
 public:
  explicit Chance(std::uint32_t seed) : engine_(seed) {}
  /// From 0 to `most`, evenly.
  std::uint32_t up_to(std::uint32_t most) {
    return std::uniform_int_distribution<std::uint32_t>(0, most)(engine_);
  }
  bool one_in(std::uint32_t n) { return up_to(n - 1) == 0; }
  std::chrono::microseconds microseconds(std::uint32_t least, std::uint32_t most) {
    return std::chrono::microseconds(least + up_to(most - least));
  }

 private:
  std::minstd_rand engine_;
};

// ---- the watcher ---------------------------------------------------------------------------------

inline std::string wchan_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/wchan");
  std::string text;
  std::getline(file, text);
  return text;
}

inline void describe(const char* who, pid_t pid, const char* does) {
  std::printf("  %-10s pid %-7d %-28s %s, wchan %s\n", who, static_cast<int>(pid),
              does == nullptr ? "" : does, crash::describe_whereabouts(pid).c_str(),
              wchan_of(pid).c_str());
}

inline void who_is_where(const char* why) {
  std::printf("%s; stage: %s\n", why, board().stage.load());
  describe("hunter", board().hunter.load(), "");
  for (const Desk& desk : board().desks) {
    if (desk.pid.load() != 0) describe("worker", desk.pid.load(), desk.does.load());
  }
}

inline std::uint64_t progress_of_all() {
  std::uint64_t sum = board().steps.load();
  for (const Desk& desk : board().desks) sum += desk.progress.load();
  return sum;
}

/// Runs `hunt` in a child, and fails with a report of who is where when nothing goes on for 10 s.
inline int watch(const char* name, const Options& options, const std::function<void()>& hunt) {
  constexpr auto patience = std::chrono::seconds(10);
  constexpr auto remarkable = std::chrono::seconds(1);  // no failure: a busy machine does that too
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  std::printf("%s: --seconds %g --seed %u\n", name, options.seconds, options.seed);
  static_cast<void>(board());
  // The watcher has the arena mapped. Without a slot of its own it would pass for a child that somebody
  // was killed in forking, and what may be that one's is kept.
  static_cast<void>(kin::detail::this_process());
  const pid_t hunter = fork();
  if (hunter == 0) {
    crash::die_with(getppid());
    hunt();
    std::fflush(stdout);
    _exit(board().violations.load() == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  board().hunter.store(hunter);
  std::uint64_t before = progress_of_all();
  auto last_change = Clock::now();
  bool told = false;
  for (;;) {
    int status = 0;
    if (waitpid(hunter, &status, WNOHANG) == hunter) {
      if (WIFSIGNALED(status)) std::printf("the hunter died of signal %d\n", WTERMSIG(status));
      return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
    }
    std::this_thread::sleep_for(milliseconds(20));
    const auto still_for = Clock::now() - last_change;
    if (const std::uint64_t now = progress_of_all(); now != before) {
      if (told)
        std::printf("… and on after %.1f s\n", std::chrono::duration<double>(still_for).count());
      told = false;
      before = now;
      last_change = Clock::now();
    } else if (still_for > patience) {
      who_is_where("HANG: no progress for 10 s");
      break;
    } else if (still_for > remarkable && !told) {
      who_is_where("no progress for a second");
      told = true;
    }
  }
  kill(hunter, SIGKILL);  // the workers are daemons
  waitpid(hunter, nullptr, 0);
  return EXIT_FAILURE;
}

// ---- the hunter ----------------------------------------------------------------------------------

inline int open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<int>(std::distance(begin(all), end(all)));
}

/// Eight workers of one phase.
class Herd {
 public:
  /// What the `incarnation`-th worker, at that desk, does.
  using Work = std::function<void(std::size_t desk, std::uint32_t incarnation)>;
  static constexpr std::uint32_t most_incarnations = 1024;  // in a phase

  Herd(Chance& chance, Work work) : chance_(chance), work_(std::move(work)) {
    for (std::size_t i = 0; i < worker_count; ++i) start(i);
  }

  /// Kills and replaces until then; only those at each `stride`-th desk.
  void hunt_until(Clock::time_point end, std::uint32_t stride = 1) {
    const std::uint32_t prey = worker_count / stride;
    while (Clock::now() < end && next_incarnation_ + worker_count < most_incarnations) {
      std::this_thread::sleep_for(chance_.microseconds(500, 6000));
      const std::size_t first = stride * chance_.up_to(prey - 1);
      std::optional<std::size_t> second;
      if (chance_.one_in(12)) {  // nothing may be taken away from one that is stopped
        kill(workers_[first].process->pid(), SIGSTOP);
        std::this_thread::sleep_for(chance_.microseconds(100, 20000));
        if (chance_.one_in(2)) {
          kill(workers_[first].process->pid(), SIGCONT);
          continue;
        }
      } else if (chance_.one_in(6)) {  // two at a time: one may be recovering from the other
        second = (first + stride * (1 + chance_.up_to(prey - 2))) % worker_count;
        std::this_thread::sleep_for(chance_.microseconds(0, 100));
      }
      workers_[first].process->kill();
      if (second) workers_[*second].process->kill();
      replace(first);
      if (second) replace(*second);
    }
  }

  /// Waits for one to come to its end.
  void finish(std::size_t desk) {
    kin::Process& process = *workers_[desk].process;
    process.join();
    if (process.exit_code() != 0) {
      violation("a worker ended with exit code %d", process.exit_code().value_or(-1000));
    }
    board().desks[desk].pid.store(0);
    board().steps.fetch_add(1);
  }

  [[nodiscard]] std::uint32_t incarnations() const { return next_incarnation_; }
  struct Killed {
    std::size_t desk;
    std::uint32_t incarnation;
  };
  [[nodiscard]] const std::vector<Killed>& killed() const { return killed_; }

 private:
  struct Worker {
    std::optional<kin::Process> process;
    std::uint32_t incarnation = 0;
  };

  void start(std::size_t desk) {
    Worker& worker = workers_[desk];
    worker.incarnation = next_incarnation_++;
    worker.process.emplace(kin::ProcessOptions{.daemon = true},
                           [this, desk, incarnation = worker.incarnation] {
                             board().desks[desk].pid.store(getpid());
                             work_(desk, incarnation);
                           });
    worker.process->start();
  }

  void replace(std::size_t desk) {
    Worker& worker = workers_[desk];
    worker.process->join();
    if (worker.process->exit_code() == -SIGKILL) {
      killed_.push_back({desk, worker.incarnation});
    } else if (worker.process->exit_code() != 0) {
      violation("a worker ended with exit code %d", worker.process->exit_code().value_or(-1000));
    }
    start(desk);
  }

  Chance& chance_;
  Work work_;
  std::array<Worker, worker_count> workers_;
  std::uint32_t next_incarnation_ = 0;
  std::vector<Killed> killed_;
};

// ---- what must not grow --------------------------------------------------------------------------

/// How many ids are in the descriptor store. At a quiet moment.
inline std::size_t stored_descriptors() {
  using kin::detail::DescriptorStore;
  const kin::detail::DescriptorStoreState& store = *kin::detail::arena().descriptors;
  DescriptorStore::discard(DescriptorStore::new_id());  // counts what the dead may have left
  const auto seats = std::span(store.seats).first(store.capacity);
  const auto stored = std::ranges::count_if(seats, [](const auto& seat) { return seat.id != 0; });
  // Garbage is what a discard could not take out yet. Each other packet has its seat.
  const std::uint64_t packets = store.pushed - store.popped;
  if (packets != static_cast<std::uint64_t>(stored) + store.garbage) {
    violation("%llu packets in the descriptor store, %u of them garbage, and %lld seats",
              static_cast<unsigned long long>(packets), store.garbage.load(),
              static_cast<long long>(stored));
  }
  return static_cast<std::size_t>(stored);
}

/// What the family and this process hold at a quiet moment: no worker lives, no message waits.
struct Holdings {
  std::size_t chunks = 0;
  std::size_t cells = 0;
  int descriptors = 0;
  std::size_t stored = 0;  // in the descriptor store

  static Holdings now() {
    kin::detail::Heap::recover();
    const auto heap = kin::detail::Heap::statistics();
    return {heap.chunks, heap.cells, open_descriptors(), stored_descriptors()};
  }

  /// `chunks_more` is what may honestly differ between two quiet moments, the ring that a queue keeps.
  /// Beside it, any of the heap's classes may keep an empty chunk or not, and a worker that just died
  /// may wait for the sweep with a block or two.
  void compare(const Holdings& now, std::size_t chunks_more) const {
    const std::size_t most_chunks = chunks + chunks_more + kin::detail::HeapState::classes;
    const std::size_t most_cells = cells + 2 * worker_count;
    if (now.chunks > most_chunks) {
      violation("the arena grew: %zu chunks, %zu before", now.chunks, chunks);
    }
    if (now.cells > most_cells) {
      violation("the arena grew: %zu cells, %zu before", now.cells, cells);
    }
    if (now.descriptors > descriptors) {
      violation("%d descriptors, %d before", now.descriptors, descriptors);
    }
    if (now.stored > stored) {
      violation("%zu ids in the descriptor store, %zu before", now.stored, stored);
    }
  }
};

}  // namespace soak
