// SPDX-License-Identifier: BSL-1.0
// error: kin: an address of code can't come from another program
#include <kin/expose.hpp>

#include <vector>

struct Runner {
  void run(const std::vector<void (*)()>& steps) {
    for (auto* step : steps) step();
  }
};

int main() { kin::expose<Runner, kin::constructor<>, &Runner::run>(); }
