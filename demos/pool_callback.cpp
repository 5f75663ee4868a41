// SPDX-License-Identifier: BSL-1.0
//
// demo: callbacks: a worker computes, a callback in the parent prints; who runs what
//
// The callback runs in this process, in a thread of the pool's own. So it sees the parent's variables; it
// shares them with the thread that made the pool, which is why there is a mutex.

#include <kin/kin.hpp>

#include <exception>
#include <functional>
#include <iostream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

struct Root {
  int of = 0;
  int value = 0;
  pid_t worker = 0;
};

Root exact_root(int number) {
  for (int value = 0; value * value <= number; ++value) {
    if (value * value == number) return {number, value, ::getpid()};
  }
  throw std::domain_error(std::to_string(number) + " is no square");
}

}  // namespace

int main() {
  const pid_t parent = ::getpid();
  const std::thread::id main_thread = std::this_thread::get_id();
  std::mutex mutex;  // guards what follows
  std::set<std::string> seen;
  int failures = 0;

  kin::Pool pool(2);
  for (const int number : {16, 25, 26, 36}) {
    const auto print = [&](const Root& root) {
      const std::scoped_lock lock(mutex);
      std::cout << "the root of " << root.of << " is " << root.value << '\n';
      std::cout << "  computed by process " << root.worker << ", printed by " << ::getpid() << '\n';
      seen.insert(root.worker != parent ? "computed elsewhere" : "computed here");
      seen.insert(::getpid() == parent ? "printed here" : "printed elsewhere");
      seen.insert(std::this_thread::get_id() == main_thread ? "in the main thread"
                                                            : "in a thread of the pool's");
    };
    const auto complain = [&](const std::exception& error) {
      const std::scoped_lock lock(mutex);
      std::cout << "there is none: " << error.what() << '\n';
      ++failures;
    };
    static_cast<void>(
        pool.apply_async({.callback = print, .error_callback = complain}, exact_root, number));
  }
  pool.close();
  pool.join();  // all callbacks were called

  for (const std::string& what : seen) std::cout << what << '\n';
  std::cout << failures << " of 4 failed\n";
}
