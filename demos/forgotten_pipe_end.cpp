// SPDX-License-Identifier: BSL-1.0
//
// demo: the forgotten pipe end: three programs that wait for ever, and the one that does not
//
// docs/lessons/forgotten_pipe_end.md goes with it. All four sum up numbers in a child. The stream ends
// when nobody could send any more, so a writer that is left open somewhere keeps the child waiting.

#include <kin/kin.hpp>

#include <chrono>
#include <iostream>
#include <string_view>
#include <thread>

using namespace std::chrono_literals;

namespace {

using Numbers = kin::SimplexPipe<int>;

void print_sum(const kin::Reader<int>& numbers) {
  int sum = 0;
  for (const int number : numbers) sum += number;
  std::cout << "  the child: the stream has ended, the sum is " << sum << std::endl;
}

void send_numbers(const kin::Writer<int>& numbers) {
  for (const int number : {1, 2, 3}) numbers.send(number);
}

// A program without a time limit would hang here.
void wait_for(kin::Process& child, std::string_view guilty) {
  if (child.join_for(500ms)) {
    std::cout << "  it has ended\n";
    return;
  }
  std::cout << "  it still waits: " << guilty << '\n';
  child.kill();
  child.join();
}

void the_child_forgets() {
  std::cout << "wrong: the child never closes its own writer\n";
  const Numbers numbers;
  kin::Process child([numbers] { print_sum(numbers.reader); });
  child.start();
  send_numbers(numbers.writer);
  numbers.writer.close();
  wait_for(child, "it could send to itself");
}

void the_parent_forgets() {
  std::cout << "wrong: the parent joins before it closes its writer\n";
  const Numbers numbers;
  kin::Process child([numbers] {
    numbers.writer.close();
    print_sum(numbers.reader);
  });
  child.start();
  send_numbers(numbers.writer);
  wait_for(child, "the parent, which waits for it, could send");
}

void a_sibling_has_it_too() {
  std::cout << "wrong: a sibling was forked while the parent had the writer\n";
  const Numbers numbers;
  kin::Process child([numbers] {
    numbers.writer.close();
    print_sum(numbers.reader);
  });
  child.start();
  // It has nothing to do with the numbers, and has a writer all the same.
  kin::Process sibling({.daemon = true}, [] { std::this_thread::sleep_for(1h); });
  sibling.start();
  send_numbers(numbers.writer);
  numbers.writer.close();
  wait_for(child, "the sibling, which never heard of the pipe, could send");
}

void everyone_closes() {
  std::cout << "right: whoever has a writer and does not send closes it\n";
  const Numbers numbers;
  kin::Process child([numbers] {
    numbers.writer.close();
    print_sum(numbers.reader);
  });
  child.start();
  kin::Process sibling({.daemon = true}, [numbers] {
    numbers.writer.close();
    numbers.reader.close();
    std::this_thread::sleep_for(1h);
  });
  sibling.start();
  numbers.reader.close();
  send_numbers(numbers.writer);
  numbers.writer.close();
  wait_for(child, "nobody could send");
}

}  // namespace

int main() {
  the_child_forgets();
  the_parent_forgets();
  a_sibling_has_it_too();
  everyone_closes();
}
