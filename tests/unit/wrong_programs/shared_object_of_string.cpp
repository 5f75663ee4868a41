// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't live in a SharedObject: it, or a member of it, has its memory in one process; use kin::SharedString
#include <kin/shared.hpp>

#include <string>

struct Account {
  int number = 0;
  std::string owner;
};

int main() {
  const kin::SharedObject<kin::SharedMap<int, Account>> accounts;
  accounts.with([](auto& map) { map[1].owner = "nobody"; });
}
