// SPDX-License-Identifier: BSL-1.0
// error: kin: this class can't travel in a message by value: give it a default constructor
#include <kin/serialize.hpp>

class Account {
 public:
  explicit Account(long balance) : balance_(balance) {}

  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& balance_;
  }

 private:
  long balance_;
};

int main() { kin::detail::require_sendable<Account>(); }
