// SPDX-License-Identifier: BSL-1.0
// error: a managed list can't be of bool
#include <kin/kin.hpp>

int main() {
  const kin::Manager manager;
  manager.list<bool>().append(true);
}
