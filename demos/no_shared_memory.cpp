// SPDX-License-Identifier: BSL-1.0
//
// demo: processes share no memory: what a child changes, its parent does not see; a thread's it does
//
// A child begins with a copy of all of its parent's memory. From then on each has its own, but for what
// is shared on purpose: a kin::Value, and its like.

#include <kin/kin.hpp>

#include <iostream>
#include <string>
#include <thread>

namespace {

int number = 100;

}  // namespace

int main() {
  // A thread works on the same memory.
  std::thread thread([] { --number; });
  thread.join();
  std::cout << "a thread took 1 away: the parent sees " << number << '\n';

  // A child works on its copy. It is not an error, and nothing warns of it.
  kin::Process child([] {
    --number;
    std::cout << "a child took 1 away: the child sees " << number << '\n';
  });
  child.start();
  child.join();
  std::cout << "a child took 1 away: the parent sees " << number << '\n';

  // The same with a local variable that is captured by reference: the reference is of the child's copy.
  std::string text = "as it was";
  kin::Process writer([&text] { text = "changed"; });
  writer.start();
  writer.join();
  std::cout << "a string that a child changed by reference: " << text << '\n';

  // What all are to change is put into shared memory: all processes have this number.
  const kin::Value<int> shared(100);
  kin::Process taker([shared] { shared.fetch_sub(1); });
  taker.start();
  taker.join();
  std::cout << "a child took 1 away from a Value: the parent sees " << shared.load() << '\n';

  // Or what a child found out comes back in a message.
  const kin::Queue<int> answers;
  kin::Process worker([answers] { answers.put(number - 1); });
  worker.start();
  number = answers.get();
  worker.join();
  std::cout << "a child's answer came by a queue: the parent sees " << number << '\n';
}
