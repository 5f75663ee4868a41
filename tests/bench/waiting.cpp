// SPDX-License-Identifier: BSL-1.0

// What waiting costs: the processor time of who waits, and the time of a putter when many wait.
//
// Processor time: a child blocks; when it sleeps its clock is read, and again two seconds later.
// Its wake-ups are the voluntary switches of context in that time: a waiter looks again each 0.25 s.
//
// 64 idle readers: that many processes are blocked in get() of one queue, and one putter puts.
//   paced: a put each millisecond; the median of what a put takes by the wall clock. Each wakes a
//   reader, which gets the message and goes back to sleep before the next.
//   flood: 20000 puts one after the other; the putter's own processor time a put, since on few cores
//   the readers take the processor from it, which is not a cost of the put. The wall clock's time
//   a put stands beside it.

#include "rounds.hpp"
#include "table.hpp"

#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/sync.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <string>

#include <unistd.h>

namespace {

using bench::Table;
using Message = std::array<std::byte, 64>;

void sleep_for(std::chrono::nanoseconds time) {
  timespec left{time.count() / 1'000'000'000, time.count() % 1'000'000'000};
  while (nanosleep(&left, &left) != 0) {
  }
}

char state_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t end = line.rfind(')');
  return end == std::string::npos ? '?' : line[end + 2];
}

// Asleep, and ten milliseconds later still.
void wait_until_idle(const kin::Process& process) {
  for (int calm = 0; calm < 10; calm = state_of(process.pid()) == 'S' ? calm + 1 : 0) {
    sleep_for(std::chrono::milliseconds(1));
  }
}

// ---- the waiter's processor time -----------------------------------------------------------------

struct Cost {
  double share;
  double wake_ups;
};

double processor_time(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) std::abort();
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

double switches(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  const std::string key = "voluntary_ctxt_switches:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::atof(line.c_str() + key.size());
  }
  return 0;
}

Cost cost_of(const std::function<void()>& wait) {
  kin::Process waiter({.daemon = true}, wait);
  waiter.start();
  wait_until_idle(waiter);
  const double begin = bench::now();
  const double time = processor_time(waiter.pid());
  const double switched = switches(waiter.pid());
  sleep_for(std::chrono::seconds(2));
  const double seconds = (bench::now() - begin) / 1e9;
  return {.share = (processor_time(waiter.pid()) - time) / 1e9 / seconds,
          .wake_ups = (switches(waiter.pid()) - switched) / seconds};
}

void add_cost(Table& table, const char* name, const std::function<void()>& wait) {
  const Cost cost = cost_of(wait);
  table.add({.figure = std::string("processor time: ") + name,
             .measured = Table::number("%.4f %%", cost.share * 100),
             .peer = Table::number("one processor's time; %.1f wake-ups a second", cost.wake_ups),
             .ratio = cost.share,
             .want = Table::Want::at_most,
             .limit = 0.01,
             .ratio_format = "%.6f"});
}

// ---- a putter among idle readers -----------------------------------------------------------------

class Readers {
 public:
  explicit Readers(int count) {
    for (int i = 0; i < count; ++i) {
      processes_.emplace_back(kin::ProcessOptions{.daemon = true}, [queue = queue_] {
        for (;;) static_cast<void>(queue.get());
      });
      processes_.back().start();
    }
  }

  void settle() const {
    while (!queue_.empty()) sleep_for(std::chrono::milliseconds(1));
    for (const kin::Process& process : processes_) wait_until_idle(process);
  }

  // Nanoseconds a put.
  double paced_round() const {
    settle();
    constexpr int count = 300;
    std::vector<double> times;
    for (int i = 0; i < count; ++i) {
      sleep_for(std::chrono::milliseconds(1));
      const double begin = bench::now();
      queue_.put(Message{});
      times.push_back(bench::now() - begin);
    }
    std::nth_element(times.begin(), times.begin() + count / 2, times.end());
    return times[count / 2];
  }

  template <typename Time>
  double flood_round(Time time) const {
    settle();
    constexpr int count = 20'000;
    const double begin = time();
    for (int i = 0; i < count; ++i) queue_.put(Message{});
    return (time() - begin) / count;
  }

 private:
  kin::Queue<Message> queue_;
  std::deque<kin::Process> processes_;
};

std::string time_of(double nanoseconds) { return Table::number("%.3f us", nanoseconds / 1e3); }

void add_readers(Table& table) {
  const Readers one(1);
  const Readers many(64);
  using bench::Contestant;
  Contestant paced_one{[&] { return one.paced_round(); }};
  Contestant paced_many{[&] { return many.paced_round(); }};
  Contestant own_one{[&] { return one.flood_round(bench::own_time); }};
  Contestant own_many{[&] { return many.flood_round(bench::own_time); }};
  Contestant wall_one{[&] { return one.flood_round(bench::now); }};
  Contestant wall_many{[&] { return many.flood_round(bench::now); }};
  bench::take_turns(7, {&paced_one, &paced_many, &own_one, &own_many, &wall_one, &wall_many});

  const auto add = [&](const char* name, const Contestant& a, const Contestant& b, bool rated) {
    table.add({.figure = name,
               .measured = time_of(b.best),
               .peer = "1 idle reader " + time_of(a.best),
               .ratio = b.best / a.best,
               .want = rated ? Table::Want::at_most : Table::Want::nothing,
               .limit = 1.5});
  };
  add("64 idle readers: paced put", paced_one, paced_many, true);
  add("64 idle readers: flood, own time", own_one, own_many, true);
  add("64 idle readers: flood, wall clock", wall_one, wall_many, false);
}

}  // namespace

int main() {
  Table table("waiting: what it costs the waiter, and what many waiters cost a putter");

  const kin::Queue<int> empty;
  add_cost(table, "get", [&] { static_cast<void>(empty.get()); });
  const kin::Queue<int> full(1);
  full.put(1);
  add_cost(table, "put, full queue", [&] { full.put(2); });
  const kin::Lock lock;
  lock.lock();
  add_cost(table, "lock", [&] { lock.lock(); });
  lock.unlock();
  const kin::JoinableQueue<int> unfinished;
  unfinished.put(1);
  add_cost(table, "join of a queue", [&] { unfinished.join(); });
  add_cost(table, "join of a process", [] {
    kin::Process endless({.daemon = true}, [] { ::pause(); });
    endless.start();
    endless.join();
  });

  add_readers(table);
  table.note("puts: median of 300 (paced), mean of 20000 (flood); best of 7 rounds taken in turns");
  return table.print();
}
