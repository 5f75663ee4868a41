// SPDX-License-Identifier: BSL-1.0

// Semaphores, conditions, events and barriers: where nobody else is there, beside a bare atomic or the
// robust mutex of the C library; handed over between two processes, beside two that do nothing else; and
// many processes at one lock, at one barrier.

#include "bare_mutex.hpp"
#include "hand_over.hpp"
#include "python.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/sync.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include <pthread.h>
#include <sched.h>

namespace {

using bench::Table;

struct Bare : bench::BareMutex {
  alignas(64) std::atomic<int> atomic{1};
};

struct BareBarrier {
  void initialize(unsigned parties) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&barrier, &attributes, parties);
    pthread_barrierattr_destroy(&attributes);
  }
  pthread_barrier_t barrier;
};

std::string nanoseconds(double time) { return Table::number("%.1f ns", time); }
std::string microseconds(double time) { return Table::number("%.1f us", time / 1000); }

// ---- nobody else is there

template <typename Operation>
std::function<double()> rounds_of(Operation operation) {
  return [operation] {
    constexpr int count = 200'000;
    const double begin = bench::now();
    for (int i = 0; i < count; ++i) operation();
    return (bench::now() - begin) / count;
  };
}

template <typename Own, typename Peer>
void alone(Table& table, const std::string& figure, Own own, const std::string& peer, Peer peers) {
  bench::Contestant kin{rounds_of(own)};
  bench::Contestant bare{rounds_of(peers)};
  bench::take_turns(25, {&kin, &bare});
  table.add({.figure = figure,
             .measured = nanoseconds(kin.best),
             .peer = peer + " " + nanoseconds(bare.best),
             .ratio = kin.best / bare.best,
             .want = Table::Want::at_most,
             .limit = 2});
}

void nobody_else(Table& table) {
  const bench::Shared<Bare> bare;
  const auto to_and_fro = [&] {
    bare->atomic.fetch_sub(1);
    bare->atomic.fetch_add(1);
  };
  const auto lock = [&] { const std::scoped_lock guard(*bare); };
  const kin::Semaphore semaphore(3);
  const kin::BoundedSemaphore bounded(3);
  const kin::Event event;
  const kin::Event set_event;
  set_event.set();
  const kin::Condition condition;
  const kin::Barrier barrier(1);
  const std::string atomics = "two atomic additions";
  const std::string mutex = "robust mutex, lock and unlock";
  const auto use = [](const auto& permits) {
    permits.acquire();
    permits.release();
  };
  alone(
      table, "Semaphore: acquire, release", [&] { use(semaphore); }, atomics, to_and_fro);
  // It knows who has what, as the mutex does.
  alone(
      table, "BoundedSemaphore: acquire, release", [&] { use(bounded); }, mutex, lock);
  const auto set_and_clear = [&] {
    event.set();
    event.clear();
  };
  alone(table, "Event: set, clear", set_and_clear, atomics, to_and_fro);
  alone(
      table, "Event: wait, when set", [&] { set_event.wait(); }, mutex, lock);
  alone(
      table, "Condition: notify, nobody waits", [&] { condition.notify_one(); }, mutex, lock);
  alone(
      table, "Barrier of one: wait", [&] { barrier.wait(); }, mutex, lock);
}

// ---- two processes

// Nanoseconds for there and back. Each role is called with the number of the trip.
double trips(int count, const std::function<void(int)>& one,
             const std::function<void(int)>& other) {
  const auto role = [count](const std::function<void(int)>& turn) {
    return [count, &turn] {
      for (int i = 0; i < count; ++i) turn(i);
    };
  };
  return bench::time_together(bench::Placement::apart, {role(one), role(other)}) / count;
}

double semaphores_there_and_back(int count) {
  const kin::Semaphore there(0);
  const kin::Semaphore back(0);
  return trips(
      count,
      [&](int) {
        there.release();
        back.acquire();
      },
      [&](int) {
        there.acquire();
        back.release();
      });
}

double events_there_and_back(int count) {
  const kin::Event there;
  const kin::Event back;
  return trips(
      count,
      [&](int) {
        there.set();
        back.wait();
        back.clear();
      },
      [&](int) {
        there.wait();
        there.clear();
        back.set();
      });
}

// Two passes, as many hand-overs as there and back.
double barrier_twice(int count) {
  const kin::Barrier barrier(2);
  const auto pass = [&](int) {
    barrier.wait();
    barrier.wait();
  };
  return trips(count, pass, pass);
}

double condition_there_and_back(int count) {
  const kin::Lock lock;
  const kin::Condition changed;
  const bench::Shared<std::atomic<int>> turn;
  const auto take = [&](int mine) {
    const std::scoped_lock guard(lock);
    changed.wait(lock, [&] { return *turn == mine; });
    *turn = 1 - mine;
    changed.notify_one();
  };
  return trips(
      count, [&](int) { take(0); }, [&](int) { take(1); });
}

// The same without a condition: a lock, and a word that who waits looks at. What a condition adds to that is
// its own.
double lock_and_word_there_and_back(int count) {
  const kin::Lock lock;
  const bench::Shared<std::atomic<int>> turn;
  const auto take = [&](int mine) {
    lock.lock();
    while (*turn != mine) {
      lock.unlock();
      while (*turn != mine) bench::pause();
      lock.lock();
    }
    *turn = 1 - mine;
    lock.unlock();
  };
  return trips(
      count, [&](int) { take(0); }, [&](int) { take(1); });
}

void two_processes(Table& table) {
  std::vector<bench::HandOver> all;
  all.emplace_back("Semaphore: there and back", semaphores_there_and_back);
  all.emplace_back("Event: there and back", events_there_and_back);
  all.emplace_back("Barrier of two: two passes", barrier_twice);
  all.emplace_back("Condition: there and back", condition_there_and_back);
  all.emplace_back("  a Lock and a word alone", lock_and_word_there_and_back);
  for (int i = 0; i < 25; ++i) {
    for (bench::HandOver& one : all) one.take_turn(5'000);
  }
  for (const bench::HandOver& one : all) {
    const bool is_peer = &one == &all.back();
    const auto turn = one.middle();
    table.add({.figure = one.figure(),
               .measured = nanoseconds(turn.measured),
               .peer = "bare ping-pong " + nanoseconds(turn.bare),
               .ratio = turn.ratio,
               .want = is_peer ? Table::Want::nothing : Table::Want::at_most,
               .limit = is_peer ? 0.0 : 4.0});
  }
}

// ---- many

// Where the bench runs under SCHED_FIFO: there, who has a processor keeps it, and shares mean nothing.
void run_as_usual() {
  const sched_param none{};
  if (sched_setscheduler(0, SCHED_OTHER, &none) != 0) {
    throw std::system_error(errno, std::generic_category(), "sched_setscheduler");
  }
}

void many_at_a_lock(Table& table) {
  constexpr int processes = 16;
  constexpr double length = 10e9;
  const kin::Lock lock;
  const bench::Shared<Bare> bare;
  struct Shares {
    std::array<std::atomic<long>, processes> counts;
    alignas(64) long guarded;
  };
  const auto shares_of = [&](const auto& take) {
    const bench::Shared<Shares> shares;
    std::vector<std::function<void()>> roles;
    for (int i = 0; i < processes; ++i) {
      roles.emplace_back([&, i] {
        run_as_usual();
        const double end = bench::now() + length;
        long count = 0;
        while ((count & 15) != 0 || bench::now() < end) {
          take(shares->guarded);
          ++count;
        }
        shares->counts[static_cast<std::size_t>(i)] = count;
      });
    }
    bench::time_together(bench::Placement::anywhere, roles);
    std::vector<long> counts(shares->counts.begin(), shares->counts.end());
    std::ranges::sort(counts);
    return counts;
  };
  const auto with_kin = shares_of([&](long& guarded) {
    const std::scoped_lock guard(lock);
    ++guarded;
  });
  const auto with_bare = shares_of([&](long& guarded) {
    const std::scoped_lock guard(*bare);
    ++guarded;
  });
  const auto sum = [](const std::vector<long>& counts) {
    double all = 0;
    for (const long count : counts) all += static_cast<double>(count);
    return all;
  };
  const auto spread = [](const std::vector<long>& counts) {
    return static_cast<double>(counts.back()) / static_cast<double>(std::max(counts.front(), 1L));
  };
  table.add({.figure = "16 processes at a Lock, 10 s: rate",
             .measured = Table::number("%.2f M/s", sum(with_kin) / length * 1e3),
             .peer = "robust mutex " + Table::number("%.2f M/s", sum(with_bare) / length * 1e3),
             .ratio = sum(with_kin) / sum(with_bare)});
  table.add({.figure = "  largest share by smallest",
             .measured = Table::number("%.2f", spread(with_kin)),
             .peer = "robust mutex " + Table::number("%.2f", spread(with_bare)),
             .ratio = spread(with_kin),
             .want = Table::Want::at_most,
             .limit = 3});
}

double passes(int parties, int count) {
  const kin::Barrier barrier(parties);
  std::vector<std::function<void()>> roles;
  for (int i = 0; i < parties; ++i) {
    roles.emplace_back([&] {
      for (int pass = 0; pass < count; ++pass) barrier.wait();
    });
  }
  return bench::time_together(bench::Placement::anywhere, roles) / count;
}

double bare_passes(int parties, int count) {
  const bench::Shared<BareBarrier> bare;
  bare->initialize(static_cast<unsigned>(parties));
  std::vector<std::function<void()>> roles;
  for (int i = 0; i < parties; ++i) {
    roles.emplace_back([&] {
      for (int pass = 0; pass < count; ++pass) pthread_barrier_wait(&bare->barrier);
    });
  }
  return bench::time_together(bench::Placement::anywhere, roles) / count;
}

void many_at_a_barrier(Table& table) {
  const double python = bench::run_python(R"(
import multiprocessing, time, sys
multiprocessing.set_start_method("fork")
parties, count = int(sys.argv[1]), int(sys.argv[2])
barrier = multiprocessing.Barrier(parties)
def run(times):
    barrier.wait()
    begin = time.monotonic()
    for i in range(count):
        barrier.wait()
    times.put(time.monotonic() - begin)
times = multiprocessing.SimpleQueue()
all = [multiprocessing.Process(target=run, args=(times,)) for i in range(parties)]
for one in all: one.start()
longest = max(times.get() for one in all)
for one in all: one.join()
print(longest * 1e9 / count)
)",
                                          "5 1000");
  bench::Contestant five{[] { return passes(5, 1000); }};
  bench::Contestant many{[] { return passes(64, 100); }};
  bench::Contestant bare_five{[] { return bare_passes(5, 1000); }};
  bench::Contestant bare_many{[] { return bare_passes(64, 100); }};
  bench::take_turns(5, {&five, &bare_five, &many, &bare_many});
  table.add({.figure = "Barrier of 5: a pass, of 1000",
             .measured = microseconds(five.best),
             .peer = "Python multiprocessing.Barrier " + microseconds(python),
             .ratio = python / five.best,
             .want = Table::Want::at_least,
             .limit = 1});
  table.add({.figure = "  the same",
             .measured = microseconds(five.best),
             .peer = "pthread_barrier, not robust " + microseconds(bare_five.best),
             .ratio = bare_five.best / five.best});
  table.add({.figure = "Barrier of 64: a pass",
             .measured = microseconds(many.best),
             .peer = "pthread_barrier, not robust " + microseconds(bare_many.best),
             .ratio = bare_many.best / many.best});
}

}  // namespace

int main() {
  Table table(
      "sync: alone, between two processes, and among many; best of rounds taken in turns, between "
      "two the middle one");
  nobody_else(table);
  two_processes(table);
  many_at_a_lock(table);
  many_at_a_barrier(table);
  table.note("alone and between two: times, kin's to the peer's; barriers: the peer's to kin's");
  return table.print();
}
