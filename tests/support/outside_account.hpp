// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/expose.hpp>
#include <kin/manager.hpp>
#include <kin/queue.hpp>
#include <kin/serialize.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

/// What a manager and the programs that come from outside have in common: a header, as it would be in life.
namespace outside {

/// Has something that can't go to another program.
class Robbed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& loot_;
  }

 private:
  kin::Queue<int> loot_;
};

/// Has code in it, where no compiler sees it.
struct Advice {
  int (*code)(int) = nullptr;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& code;
  }
};

/// May have something that can't go to another program.
struct Job {
  int number = 0;
  std::vector<kin::Queue<int>> replies;
};

class Account {
 public:
  explicit Account(int balance = 0) : balance_(balance) {}

  void deposit(int amount) { balance_ += amount; }
  void withdraw(int amount) {
    if (amount > balance_) throw std::out_of_range("that is more than there is");
    balance_ -= amount;
  }
  [[nodiscard]] int balance() const { return balance_; }
  void set_owner(const std::string& owner) { owner_ = owner; }
  [[nodiscard]] std::string owner() const { return owner_; }
  void be_robbed() { throw Robbed("all of it is gone"); }
  void follow(const Advice& advice) { balance_ = advice.code(balance_); }
  /// Not exposed.
  [[nodiscard]] int secret() const { return 42; }

 private:
  int balance_;
  std::string owner_;
};

inline int double_balance(Account& account, int times) {
  for (int i = 0; i < times; ++i) account.deposit(account.balance());
  return account.balance();
}

/// Keeps the server busy.
inline void dawdle(Account& account, int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  account.deposit(1);
}

using Words = kin::managed::List<std::string>;
using Counts = kin::managed::Dict<std::string, int>;

inline bool expose_all() {
  using kin::managed::Queue;
  kin::register_exception<Robbed>();
  return kin::expose<Account, kin::constructor<int>, &Account::deposit, &Account::withdraw,
                     &Account::balance, &Account::set_owner, &Account::owner, &double_balance,
                     &Account::be_robbed, &Account::follow, &dawdle>() &&
         kin::expose<std::string>() && kin::expose<Words>() && kin::expose<Counts>() &&
         kin::expose<kin::managed::Dict<std::string, Words>>() &&
         kin::expose<kin::managed::Set<int>>() && kin::expose<kin::managed::NameSpace>() &&
         kin::expose<kin::managed::Array<double>>() && kin::expose<kin::managed::Value<int>>() &&
         kin::expose<Queue<std::string>>() && kin::expose<Queue<Job>>() &&
         kin::expose<kin::managed::JoinableQueue<int>>() &&
         kin::expose<kin::managed::LifoQueue<int>>() &&
         kin::expose<kin::managed::PriorityQueue<int>>() && kin::expose<kin::managed::Lock>() &&
         kin::expose<kin::managed::RLock>() && kin::expose<kin::managed::Semaphore>() &&
         kin::expose<kin::managed::BoundedSemaphore>() && kin::expose<kin::managed::Event>() &&
         kin::expose<kin::managed::Barrier>() && kin::expose<kin::managed::Condition>();
}
inline const bool all_are_exposed = expose_all();

inline constexpr const char* key = "open sesame";

}  // namespace outside
