// SPDX-License-Identifier: BSL-1.0
//
// demo: a lock whose holder is killed: nobody hangs, and the next holder is told
//
// With most locks between processes the others wait for ever. Here the kernel says that the holder is
// gone; the next who locks gets the lock, and learns that what it guards may be half changed.

#include <kin/kin.hpp>

#include <iostream>
#include <mutex>
#include <string_view>
#include <thread>

using namespace std::chrono_literals;

int main() {
  // The log goes to stderr unless told otherwise; here its lines stand among the others.
  kin::set_log_sink([](kin::LogLevel, std::string_view line) {
    std::cout << "kin's log:" << line.substr(line.find(':') + 1) << std::endl;
  });

  const kin::Lock lock;
  const kin::Queue<bool> has_it;
  kin::Process holder({.name = "holder"}, [lock, has_it] {
    std::scoped_lock guard(lock);
    has_it.put(true);
    std::this_thread::sleep_for(1h);
  });
  holder.start();
  static_cast<void>(has_it.get());

  std::cout << "try_lock(): " << (lock.try_lock() ? "mine" : "somebody has it") << '\n';
  std::cout << "owner(): " << lock.owner()->process_name << '\n';
  holder.kill();
  holder.join();
  std::cout << "the holder was killed by signal " << -*holder.exit_code() << '\n';

  {
    const std::scoped_lock guard(lock);
    std::cout << "lock(): mine; owner_died(): " << std::boolalpha << lock.owner_died() << '\n';
    // Here one would repair what the lock guards.
  }
  {
    const std::scoped_lock guard(lock);
    std::cout << "lock() again: mine; owner_died(): " << lock.owner_died() << '\n';
  }
}
