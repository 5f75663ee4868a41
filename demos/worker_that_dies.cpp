// SPDX-License-Identifier: BSL-1.0
//
// demo: the worker that dies: who counts results waits for ever; a pool says which task it was
//
// docs/lessons/worker_that_dies.md goes with it. Ten numbers are squared by two workers. At one of them the
// worker is killed, as the kernel does when memory is short.

#include <kin/kin.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <iostream>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int numbers = 10;
constexpr int deadly = 4;

int square(int number) {
  if (number == deadly) std::raise(SIGKILL);
  return number * number;
}

void results_are_counted() {
  std::cout << "wrong: two processes, a queue of numbers, a queue of results\n";
  const kin::Queue<int> tasks;
  const kin::Queue<int> results;
  for (int number = 0; number < numbers; ++number) tasks.put(number);
  tasks.shutdown();
  std::vector<kin::Process> workers;
  for (int i = 0; i < 2; ++i) {
    workers
        .emplace_back(kin::ProcessOptions{.daemon = true},
                      [tasks, results] {
                        for (const int number : tasks) results.put(square(number));
                      })
        .start();
  }
  for (int i = 0; i < numbers; ++i) {
    if (!results.get_for(500ms)) {  // a program without a time limit would hang here
      std::cout << "  " << i << " results, and it still waits for the next\n";
      std::cout << "  which one is missing, and why, nobody knows\n";
      return;
    }
  }
}

void a_pool_tells() {
  std::cout << "right: a pool\n";
  kin::Pool pool(2);
  std::vector<kin::Future<int>> squares;
  for (int number = 0; number < numbers; ++number) {
    squares.push_back(pool.apply_async(square, number));
  }
  int good = 0;
  for (int number = 0; number < numbers; ++number) {
    try {
      static_cast<void>(squares[static_cast<std::size_t>(number)].get());
      ++good;
    } catch (const kin::WorkerDied& death) {
      std::cout << "  the square of " << number << ": the worker was killed by signal "
                << -death.exit_code() << '\n';
    }
  }
  std::cout << "  all the others: " << good << " results\n";
}

void a_pool_tries_again() {
  std::cout << "right, where a task may run twice: a pool, with retries\n";
  kin::Pool pool(2);
  const kin::Queue<int> attempts;
  const auto dies_once = [](const kin::Queue<int>& counted, int number) {
    counted.put(number);
    if (counted.size() == 1) std::raise(SIGKILL);
    return number * number;
  };
  const int result = pool.apply({.retries = 3}, dies_once, attempts, deadly);
  std::cout << "  the square of " << deadly << " is " << result << ", at attempt "
            << attempts.size() << '\n';
}

}  // namespace

int main() {
  results_are_counted();
  a_pool_tells();
  a_pool_tries_again();
}
