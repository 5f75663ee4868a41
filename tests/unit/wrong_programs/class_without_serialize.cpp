// SPDX-License-Identifier: BSL-1.0
// error: kin: this class can't travel in a message: give it a Boost serialize()
#include <kin/serialize.hpp>

class Account {
 public:
  long balance() const { return balance_; }

 private:
  long balance_ = 0;
};

int main() { kin::detail::require_sendable<Account>(); }
