// SPDX-License-Identifier: BSL-1.0
//
// demo: the captured reference: what a worker changes is its own copy; a pool refuses the address
//
// docs/lessons/captured_reference.md goes with it. All five want to add up squares in a variable of this
// process. In one program with threads the first would be right, but for a lock.

#include <kin/kin.hpp>

#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

const std::vector<int> numbers = {1, 2, 3, 4};

int square(int number) { return number * number; }

void a_process_captures_by_reference() {
  std::cout << "wrong: a process adds to what it captured by reference\n";
  int sum = 0;
  kin::Process child([&sum] {
    for (const int number : numbers) sum += square(number);
    std::cout << "  in the child the sum is " << sum << std::endl;
  });
  child.start();
  child.join();
  std::cout << "  in the parent the sum is " << sum << '\n';
}

void a_pool_refuses_it() {
  std::cout << "wrong: so does a task of a pool, whose workers are older than the variable\n";
  kin::Pool pool(2);
  int sum = 0;
  try {
    pool.map([&sum](int number) { sum += square(number); }, numbers);
  } catch (const std::invalid_argument& error) {
    std::cout << "  refused: " << error.what() << '\n';
  }
}

int factor = 1;

void a_global_is_what_it_was() {
  std::cout << "wrong: a global is changed when the workers are there already\n";
  kin::Pool pool(2);
  factor = 10;
  const int product = pool.apply([](int number) { return factor * number; }, 7);
  std::cout << "  7 times " << factor << " is " << product << '\n';
}

void results_come_back() {
  std::cout << "right: values go with the task, results come back, and the parent adds up\n";
  kin::Pool pool(2);
  const int times = factor;
  const std::vector<int> squares =
      pool.map([times](int number) { return times * square(number); }, numbers);
  std::cout << "  ten times the squares: " << std::accumulate(squares.begin(), squares.end(), 0)
            << '\n';
}

void a_callback_has_the_variable() {
  std::cout << "right: a callback runs in the parent, and may capture what it likes\n";
  kin::Pool pool(2);
  int sum = 0;  // changed by the pool's one thread here, and read when that has ended
  for (const int number : numbers) {
    static_cast<void>(
        pool.apply_async({.callback = [&sum](int result) { sum += result; }}, square, number));
  }
  pool.close();
  pool.join();
  std::cout << "  the sum of the squares is " << sum << '\n';
}

}  // namespace

int main() {
  a_process_captures_by_reference();
  a_pool_refuses_it();
  a_global_is_what_it_was();
  results_come_back();
  a_callback_has_the_variable();
}
