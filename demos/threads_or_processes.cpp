// SPDX-License-Identifier: BSL-1.0
//
// demo: threads or processes: times of work that computes, of work that waits, and of making them
//
// In Python threads share one interpreter lock, and processes are what computes at once. In C++ threads
// compute at once as well, and the times say how little processes cost. What else differs decides:
// threads share memory, with all that this means; a process that crashes takes nobody with it.

#include <kin/kin.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <ranges>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int tasks = 8;

/// Computes: the longest chain of Collatz below a limit.
int compute(int limit) {
  int longest = 0;
  for (std::int64_t begin = 1; begin < limit; ++begin) {
    int length = 0;
    for (std::int64_t at = begin; at != 1; at = at % 2 == 0 ? at / 2 : 3 * at + 1) ++length;
    longest = std::max(longest, length);
  }
  return longest;
}

/// Waits, as one does for a disk or a server.
int wait_a_moment(int value) {
  std::this_thread::sleep_for(20ms);
  return value;
}

template <typename Function>
double milliseconds(Function function) {
  const auto begin = Clock::now();
  function();
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

void print_row(std::string_view what, double one, double threads, double processes) {
  std::cout << std::left << std::setw(26) << what << std::right << std::setw(10) << one
            << std::setw(10) << threads << std::setw(12) << processes << '\n';
}

template <typename Executor>
double time_of(Executor& executor, int (*work)(int), int argument) {
  const std::vector<int> arguments(tasks, argument);
  return milliseconds([&] {
    for (const int result : executor.map(work, arguments)) static_cast<void>(result);
  });
}

double time_alone(int (*work)(int), int argument) {
  return milliseconds([&] {
    for (int i = 0; i < tasks; ++i) static_cast<void>(work(argument));
  });
}

}  // namespace

int main() {
  constexpr int limit = 100'000;
  constexpr int workers = 4;
  kin::ProcessPoolExecutor processes(workers);  // first: their fork copies one thread
  kin::ThreadPoolExecutor threads(workers);

  std::cout << std::fixed << std::setprecision(1);
  std::cout << tasks << " tasks, " << workers << " workers, " << kin::cpu_count()
            << " processors; times in ms\n\n";
  std::cout << std::left << std::setw(26) << "" << std::right << std::setw(10) << "one by one"
            << std::setw(10) << "threads" << std::setw(12) << "processes" << '\n';
  print_row("they compute", time_alone(compute, limit), time_of(threads, compute, limit),
            time_of(processes, compute, limit));
  print_row("they wait", time_alone(wait_a_moment, 0), time_of(threads, wait_a_moment, 0),
            time_of(processes, wait_a_moment, 0));

  // Made before the threads that are timed, for the reason above.
  const double of_processes = milliseconds([] {
    std::vector<kin::Process> all;
    for (int i = 0; i < 100; ++i) all.emplace_back([] {}).start();
    for (kin::Process& process : all) process.join();
  });
  const double of_threads = milliseconds([] {
    std::vector<std::thread> all;
    for (int i = 0; i < 100; ++i) all.emplace_back([] {});
    for (std::thread& thread : all) thread.join();
  });
  std::cout << "\nmade and joined, a hundred: threads " << of_threads << " ms, processes "
            << of_processes << " ms\n";
  std::cout << "both found the same: " << std::boolalpha
            << (threads.submit(compute, 1000).result() == processes.submit(compute, 1000).result())
            << '\n';
}
