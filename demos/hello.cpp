// SPDX-License-Identifier: BSL-1.0
//
// demo: a child process, and a message from it: what to type first

#include <kin/kin.hpp>

#include <iostream>
#include <string>

int main() {
  kin::Queue<std::string> queue;
  kin::Process child([queue](const std::string& name) { queue.put("hello " + name); },
                     "from a child");
  child.start();
  std::cout << queue.get() << '\n';
  child.join();
  std::cout << "it ended with exit code " << *child.exit_code() << '\n';
}
