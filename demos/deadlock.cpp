// SPDX-License-Identifier: BSL-1.0
//
// demo: two processes that wait for each other's lock: what the error says, and two forms that are safe
//
// docs/lessons/deadlock.md goes with it. Money is moved from one account to another; each has a lock of its own, and
// who moves holds both.

#include <kin/kin.hpp>

#include <iostream>
#include <mutex>
#include <string>

namespace {

struct Account {
  std::string name;
  kin::Lock lock = kin::Lock({.name = name});
  kin::RawValue<int> money = kin::RawValue<int>(100);
};

void print(const Account& one, const Account& other) {
  std::cout << "  " << one.name << ' ' << *one.money << ", " << other.name << ' ' << *other.money
            << '\n';
}

// ---- each takes its own account's lock first

// So that it happens every time, and not once in a month: both have their first lock before they go on.
void take_one_then_the_other(const Account& from, const Account& to, const kin::Barrier& both) {
  const kin::LockGuard first(from.lock);
  both.wait();
  const kin::LockGuard second(to.lock);
  *from.money -= 10;
  *to.money += 10;
}

void deadlock(const Account& savings, const Account& cash) {
  std::cout << "wrong: the account that pays is locked first\n";
  const kin::Barrier both(2);
  const kin::Queue<std::string> errors;
  const auto move = [=](const Account& from, const Account& to) {
    try {
      take_one_then_the_other(from, to, both);
    } catch (const kin::DeadlockError& error) {
      errors.put(error.what());
    }
  };
  kin::Process saver({.name = "saver"}, [&] { move(cash, savings); });
  kin::Process spender({.name = "spender"}, [&] { move(savings, cash); });
  saver.start();
  spender.start();
  saver.join();
  spender.join();
  std::cout << errors.get() << '\n';
  std::cout << "  one of them was told, and let go; the other went on\n";
  print(savings, cash);
}

// ---- both at once

void take_both(const Account& savings, const Account& cash) {
  std::cout << "right: both at once\n";
  const auto move = [](const Account& from, const Account& to) {
    for (int i = 0; i < 1000; ++i) {
      const std::scoped_lock both(from.lock, to.lock);
      *from.money -= 1;
      *to.money += 1;
    }
  };
  kin::Process saver([&] { move(cash, savings); });
  saver.start();
  move(savings, cash);
  saver.join();
  print(savings, cash);
}

// ---- one after the other, and everywhere in the same order

void take_in_order(const Account& savings, const Account& cash) {
  std::cout << "right: one after the other, everywhere in the same order\n";
  const auto move = [&](const Account& from, const Account& to) {
    for (int i = 0; i < 1000; ++i) {
      const kin::LockGuard first(savings.lock);
      const kin::LockGuard second(cash.lock);
      *from.money -= 1;
      *to.money += 1;
    }
  };
  kin::Process saver([&] { move(cash, savings); });
  saver.start();
  move(savings, cash);
  saver.join();
  print(savings, cash);
}

}  // namespace

int main() {
  const Account savings{"savings"};
  const Account cash{"cash"};
  deadlock(savings, cash);
  take_both(savings, cash);
  take_in_order(savings, cash);
}
