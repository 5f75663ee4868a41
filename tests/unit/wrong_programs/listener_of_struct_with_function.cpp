// SPDX-License-Identifier: BSL-1.0
// error: kin: addresses of functions and members mean nothing in another program
#include <kin/listener.hpp>

struct Step {
  int (*run)(int);
  int argument;
};

int main() { kin::Listener<int, Step>().close(); }
