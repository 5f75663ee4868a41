// SPDX-License-Identifier: BSL-1.0
//
// demo: why a pool: a hundred tasks through five workers, and through a hundred processes
//
// A process for each task is made, runs for a moment, and is buried. A pool makes its five once: after
// that a task is a message. The task here is small, as one sees best then what starting a process costs.

#include <kin/kin.hpp>

#include <chrono>
#include <iostream>
#include <numeric>
#include <ranges>
#include <set>
#include <string_view>
#include <vector>

#include <unistd.h>

using Clock = std::chrono::steady_clock;

namespace {

constexpr int tasks = 100;
constexpr int workers = 5;

struct Answer {
  int number = 0;
  pid_t worker = 0;
};

Answer square(int number) { return {number * number, ::getpid()}; }

void report(std::string_view how, const std::vector<Answer>& answers, Clock::time_point begin) {
  const std::chrono::duration<double, std::milli> time = Clock::now() - begin;
  int sum = 0;
  std::set<pid_t> pids;
  for (const Answer& answer : answers) {
    sum += answer.number;
    pids.insert(answer.worker);
  }
  std::cout << how << ": the sum is " << sum << '\n';
  std::cout << "  by " << pids.size() << " processes, in " << time.count() << " ms\n";
}

std::vector<Answer> with_processes() {
  const kin::Queue<Answer> answers;
  std::vector<kin::Process> processes;
  for (int number = 0; number < tasks; ++number) {
    processes.emplace_back([answers, number] { answers.put(square(number)); }).start();
  }
  for (kin::Process& process : processes) process.join();
  std::vector<Answer> all;
  while (const auto answer = answers.try_get()) all.push_back(*answer);
  return all;
}

std::vector<Answer> with_a_pool() {
  kin::Pool pool(workers);
  return pool.map(square, std::views::iota(0, tasks));
}

}  // namespace

int main() {
  auto begin = Clock::now();
  report("a process for each task", with_processes(), begin);
  begin = Clock::now();
  report("a pool, with what making it costs", with_a_pool(), begin);

  kin::Pool pool(workers);
  begin = Clock::now();
  report("a pool that is there", pool.map(square, std::views::iota(0, tasks)), begin);
}
