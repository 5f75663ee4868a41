// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't travel in a message: pointers, references
#include <kin/serialize.hpp>

void increment(int* number) { ++*number; }

int main() {
  int number = 3;
  static_cast<void>(kin::partial(increment, &number));
}
