// SPDX-License-Identifier: BSL-1.0
//
// demo: a lock whose holder is killed: with most the others wait for ever; here the next is told
//
// docs/lessons/killed_holder.md goes with it. Money is moved from one account to another, with a lock held; and
// whoever moves it is killed when it has left the one and not yet reached the other.

#include <kin/kin.hpp>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <iostream>
#include <mutex>
#include <string_view>

#include <semaphore.h>
#include <sys/mman.h>

using namespace std::chrono_literals;

namespace {

constexpr int all_money = 100;

struct Accounts {
  int savings = all_money;
  int cash = 0;
};

void print(const Accounts& accounts) {
  const int missing = all_money - accounts.savings - accounts.cash;
  std::cout << "  savings " << accounts.savings << ", cash " << accounts.cash << ": ";
  if (missing == 0) {
    std::cout << "that is all\n";
  } else {
    std::cout << missing << " are gone\n";
  }
}

// With the lock held. Is killed half-way.
void move_and_die(Accounts& accounts) {
  accounts.savings -= 10;
  std::raise(SIGKILL);
  accounts.cash += 10;
}

// ---- the ordinary lock: here a POSIX semaphore in memory that is shared; a std::mutex can't even that

void the_others_hang() {
  std::cout << "wrong: a lock that knows nothing of its holder\n";
  void* const memory =
      ::mmap(nullptr, sizeof(sem_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw kin::SystemError("mmap", errno);
  auto* const lock = static_cast<sem_t*>(memory);
  if (::sem_init(lock, 1, 1) == -1) throw kin::SystemError("sem_init", errno);

  const kin::RawValue<Accounts> accounts;
  kin::Process holder([=] {
    ::sem_wait(lock);
    move_and_die(accounts.get());
    ::sem_post(lock);
  });
  holder.start();
  holder.join();
  std::cout << "  the holder was killed by signal " << -*holder.exit_code() << '\n';

  timespec moment{};
  std::timespec_get(&moment, TIME_UTC);
  moment.tv_sec += 1;
  if (::sem_timedwait(lock, &moment) == -1) {  // sem_wait() would never return
    std::cout << "  the next still waits, and so will everybody\n";
  }
  ::munmap(memory, sizeof(sem_t));
}

// ---- the lock is free again, and that is all that anybody asks

void nobody_asks() {
  std::cout << "wrong: the next has the lock, and does not ask why\n";
  const kin::Lock lock;
  const kin::RawValue<Accounts> accounts;
  kin::Process holder({.name = "holder"}, [=] {
    const std::scoped_lock guard(lock);
    move_and_die(accounts.get());
  });
  holder.start();
  holder.join();

  const std::scoped_lock guard(lock);
  print(accounts.get());
}

// ---- the next is told, and looks

void the_next_is_told() {
  std::cout << "right: the next asks, and repairs\n";
  const kin::Lock lock;
  const kin::RawValue<Accounts> accounts;
  const kin::Event has_it;
  const kin::Event go_on;
  kin::Process holder({.name = "holder"}, [=] {
    const std::scoped_lock guard(lock);
    has_it.set();
    go_on.wait();
    move_and_die(accounts.get());
  });
  holder.start();
  has_it.wait();
  std::cout << "  try_lock(): " << (lock.try_lock() ? "mine" : "somebody has it") << '\n';
  std::cout << "  owner(): " << lock.owner()->process_name << '\n';
  go_on.set();
  {
    const std::scoped_lock guard(lock);  // gets it at once when the holder is killed
    std::cout << "  lock(): mine; owner_died(): " << std::boolalpha << lock.owner_died() << '\n';
    print(*accounts);
    if (lock.owner_died()) accounts->savings = all_money - accounts->cash;
    print(*accounts);
  }
  {
    const std::scoped_lock guard(lock);
    std::cout << "  lock() again: mine; owner_died(): " << lock.owner_died() << '\n';
  }
  holder.join();
}

// ---- nothing to repair

void old_or_new() {
  std::cout << "right, and simpler: a Value, which is changed as a whole or not at all\n";
  const kin::Value<Accounts> accounts;
  kin::Process holder({.name = "holder"}, [=] { accounts.with(move_and_die); });
  holder.start();
  holder.join();
  accounts.with(print);
}

}  // namespace

int main() {
  // The log goes to stderr unless told otherwise; here its lines stand among the others.
  kin::set_log_sink([](kin::LogLevel, std::string_view line) {
    std::cout << "  kin's log:" << line.substr(line.find(':') + 1) << std::endl;
  });
  the_others_hang();
  nobody_asks();
  the_next_is_told();
  old_or_new();
}
