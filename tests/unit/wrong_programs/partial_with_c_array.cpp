// SPDX-License-Identifier: BSL-1.0
// error: kin: a C array can't travel in a message by itself
#include <kin/serialize.hpp>

int first(const int* numbers) { return *numbers; }

int main() {
  int numbers[3] = {1, 2, 3};
  static_cast<void>(kin::partial(first, numbers));
}
