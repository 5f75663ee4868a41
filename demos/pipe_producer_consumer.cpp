// SPDX-License-Identifier: BSL-1.0
//
// demo: ten buns go down a pipe to a child, which eats until the stream ends; and why ends are closed
//
// A stream ends when the last process that could still send has closed its end. A child that is forked
// while its parent has an end has that end too.

#include <kin/kin.hpp>

#include <chrono>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

namespace {

using Buns = kin::SimplexPipe<std::string>;

void bake(const kin::Writer<std::string>& buns) {
  for (int number = 1; number <= 10; ++number) buns.send("bun " + std::to_string(number));
}

void eat(const kin::Reader<std::string>& buns) {
  int eaten = 0;
  for (const std::string& bun : buns) {  // ends when nobody can send any more
    ++eaten;
    std::cout << (eaten == 1 ? "  the child eats " : ", ") << bun << std::flush;
  }
  std::cout << "\n  end of the stream: the child ate " << eaten << " buns" << std::endl;
}

void close_what_is_not_used() {
  std::cout << "each closes the end that it does not use\n";
  const Buns buns;
  kin::Process child([buns] {
    buns.writer.close();
    eat(buns.reader);
  });
  child.start();
  buns.reader.close();

  bake(buns.writer);
  buns.writer.close();  // that was all
  child.join();
  std::cout << "  the child has ended with exit code " << *child.exit_code() << '\n';
}

void forget_to_close() {
  std::cout << "the child forgets to close its copy of the writer\n";
  const Buns buns;
  kin::Process child([buns] { eat(buns.reader); });
  child.start();
  buns.reader.close();

  bake(buns.writer);
  buns.writer.close();
  // The child itself could still send. It waits for a bun that only it could bake.
  if (!child.join_for(500ms)) std::cout << "\n  the child waits for ever; it has to be ended\n";
  child.terminate();
  child.join();
}

}  // namespace

int main() {
  forget_to_close();
  close_what_is_not_used();
}
