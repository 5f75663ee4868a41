// SPDX-License-Identifier: BSL-1.0
// error: kin: kin::partial can't call this function with these values
#include <kin/serialize.hpp>

void increment(int& number) { ++number; }

int main() {
  int number = 3;
  static_cast<void>(kin::partial(increment, number));
}
