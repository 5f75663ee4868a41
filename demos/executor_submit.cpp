// SPDX-License-Identifier: BSL-1.0
//
// demo: an executor: submit, result, map, shutdown; ten tasks that square
//
// The interface of Python's concurrent.futures, on the same workers as a pool's.

#include <kin/kin.hpp>

#include <exception>
#include <iostream>
#include <ranges>
#include <stdexcept>
#include <vector>

namespace {

int square(int number) {
  if (number < 0) throw std::invalid_argument("a negative number");
  return number * number;
}

}  // namespace

int main() {
  std::vector<kin::Future<int>> futures;
  {
    kin::ProcessPoolExecutor executor(3);

    std::cout << "one, and wait for it: " << executor.submit(square, 7).result() << '\n';

    for (int number = 0; number < 10; ++number) futures.push_back(executor.submit(square, number));
    std::cout << "ten, in the order of submission:";
    for (const kin::Future<int>& future : futures) std::cout << ' ' << future.result();
    std::cout << '\n';

    int sum = 0;
    for (const kin::Future<int>& future : kin::as_completed(futures)) sum += future.result();
    std::cout << "as they are done, in any order: their sum is " << sum << '\n';

    std::cout << "map:";
    for (const int number : executor.map(square, std::views::iota(0, 10))) {
      std::cout << ' ' << number;
    }
    std::cout << '\n';

    const kin::Future<int> wrong = executor.submit(square, -1);
    try {
      static_cast<void>(wrong.result());
    } catch (const std::invalid_argument& error) {  // as the worker threw it
      std::cout << "a call that fails: " << error.what() << '\n';
    }

    executor.shutdown();  // waits for all; the end of the scope would do it as well
    try {
      static_cast<void>(executor.submit(square, 1));
    } catch (const std::logic_error&) {
      std::cout << "no submit after shutdown\n";
    }
  }
  std::cout << "results outlive the executor: " << futures.back().result() << '\n';
}
