// SPDX-License-Identifier: BSL-1.0
// error: kin: an address of code can't come from another program
#include <kin/expose.hpp>

struct Step {
  int (*run)(int);
};

int main() { kin::expose<kin::managed::Queue<Step>>(); }
