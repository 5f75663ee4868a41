// SPDX-License-Identifier: BSL-1.0
//
// demo: apply waits for each call, apply_async does not: ten tasks one by one, then five at a time
//
// Each task prints when it begins and when it ends, and in which process.

#include <kin/kin.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;

namespace {

constexpr int tasks = 10;

using Changes = kin::Queue<int>;  // of how many tasks run

// A line is put together first and written at once, so that those of two processes don't mix.
void say(int number, const std::string& what) {
  std::cout << "  task " + std::to_string(number) + ' ' + what + " in process " +
                   std::to_string(::getpid()) + '\n'
            << std::flush;
}

int work(const Changes& changes, int number) {
  changes.put(1);
  say(number, "begins");
  std::this_thread::sleep_for(20ms);
  say(number, "ends");
  changes.put(-1);
  return number * number;
}

int most_at_once(const Changes& changes) {
  int now = 0;
  int most = 0;
  while (const auto change = changes.try_get()) {
    now += *change;
    most = std::max(most, now);
  }
  return most;
}

}  // namespace

int main() {
  const Changes changes;
  kin::Pool pool(5);

  std::cout << "apply: the next one is given away when the one before is back\n" << std::flush;
  int sum = 0;
  for (int number = 0; number < tasks; ++number) sum += pool.apply(work, changes, number);
  std::cout << "apply: the sum is " << sum << "; at once: " << most_at_once(changes) << '\n';

  std::cout << "apply_async: all are given away, and then asked for\n" << std::flush;
  std::vector<kin::Future<int>> squares;
  for (int number = 0; number < tasks; ++number) {
    squares.push_back(pool.apply_async(work, changes, number));
  }
  sum = 0;
  for (const kin::Future<int>& square : squares) sum += square.get();
  std::cout << "apply_async: the sum is " << sum << "; at once: " << most_at_once(changes) << '\n';

  pool.close();  // no more tasks
  pool.join();   // and the workers have ended
  std::cout << "closed and joined; workers that live: " << pool.worker_pids().size() << '\n';
}
