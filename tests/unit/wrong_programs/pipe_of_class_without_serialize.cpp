// SPDX-License-Identifier: BSL-1.0
// error: kin: this class can't travel in a message: give it a Boost serialize()
#include <kin/connection.hpp>

#include <string>

class Account {
 public:
  explicit Account(std::string owner) : owner_(std::move(owner)) {}
  const std::string& owner() const { return owner_; }

 private:
  std::string owner_;
};

int main() {
  const auto [reader, writer] = kin::SimplexPipe<Account>();
  return reader.recv().owner().empty() ? 1 : 0;
}
