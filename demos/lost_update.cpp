// SPDX-License-Identifier: BSL-1.0
//
// demo: the lost update: processes add to a number and much of it is lost; with a lock nothing is
//
// docs/lessons/lost_update.md goes with it. To add to a number takes three steps: read it, add, write it.
// Between them other processes take theirs.

#include <kin/kin.hpp>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string_view>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;

namespace {

constexpr int processes = 4;
constexpr int times = 50'000;

// A number that all processes can get at, in a file without a name: children inherit the descriptor.
class Number {
 public:
  [[nodiscard]] int read() const {
    int value = 0;
    if (::pread(fd_, &value, sizeof value, 0) == -1) throw kin::SystemError("pread", errno);
    return value;
  }
  void write(int value) const {
    if (::pwrite(fd_, &value, sizeof value, 0) == -1) throw kin::SystemError("pwrite", errno);
  }

 private:
  int fd_ = ::fileno(std::tmpfile());
};

// ---- once, in slow motion: a pipe to each process says when it may take its next step

void take_one(const Number& number, std::string_view name, const kin::Connection<char>& turn) {
  static_cast<void>(turn.recv());
  const int seen = number.read();
  std::cout << "  " << name << " reads " << seen << std::endl;
  turn.send('.');

  static_cast<void>(turn.recv());
  number.write(seen - 1);
  std::cout << "  " << name << " writes " << seen - 1 << std::endl;
  turn.send('.');
}

void show_slowly(const Number& number) {
  std::cout << "two processes take 1 from 100 each, in slow motion\n";
  number.write(100);
  const kin::Pipe<char> to_a;
  const kin::Pipe<char> to_b;
  kin::Process a(take_one, number, "A", to_a.second);
  kin::Process b(take_one, number, "B", to_b.second);
  a.start();
  b.start();
  for (int step = 0; step < 2; ++step) {
    for (const kin::Connection<char>& process : {to_a.first, to_b.first}) {
      process.send('.');
      static_cast<void>(process.recv());
    }
  }
  a.join();
  b.join();
  std::cout << "  two were taken, and " << number.read() << " are left\n";
}

// ---- at full speed

// Each process calls add_one() so many times. Returns what the number is in the end.
template <typename AddOne>
int add_up(const Number& number, AddOne add_one) {
  number.write(0);
  const kin::Queue<bool> start;
  std::vector<kin::Process> adders;
  for (int i = 0; i < processes; ++i) {
    adders
        .emplace_back([start, add_one] {
          static_cast<void>(start.get());
          for (int time = 0; time < times; ++time) add_one();
        })
        .start();
  }
  for (int i = 0; i < processes; ++i) start.put(true);
  for (kin::Process& adder : adders) adder.join();
  return number.read();
}

void report(std::string_view how, int found) {
  constexpr int right = processes * times;
  std::cout << "  " << how << ": " << found << " of " << right << ", " << right - found
            << " are lost\n";
}

void without_a_lock(const Number& number) {
  const auto moment = std::chrono::steady_clock::now() + 2s;
  int found = 0;
  do {  // a second time only if by chance nothing was lost
    found = add_up(number, [number] { number.write(number.read() + 1); });
  } while (found == processes * times && std::chrono::steady_clock::now() < moment);
  report("without a lock", found);
  if (found < processes * times) std::cout << "  updates were lost, and nobody was told\n";
}

void with_a_lock(const Number& number) {
  const kin::Lock lock;
  const int found = add_up(number, [number, lock] {
    const std::scoped_lock guard(lock);  // around all three steps
    number.write(number.read() + 1);
  });
  report("with a lock", found);
}

}  // namespace

int main() {
  const Number number;
  show_slowly(number);
  std::cout << processes << " processes add 1, " << times << " times each\n";
  without_a_lock(number);
  with_a_lock(number);
}
