// SPDX-License-Identifier: BSL-1.0
// error: kin: an address of code can't come from another program
#include <kin/expose.hpp>

struct Step {
  int (*run)(int);
};

struct Planner {
  Step next() { return {nullptr}; }
};

int main() { kin::expose<Planner, kin::constructor<>, &Planner::next>(); }
