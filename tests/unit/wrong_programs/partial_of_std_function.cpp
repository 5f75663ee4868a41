// SPDX-License-Identifier: BSL-1.0
// error: kin: this function can't travel to another process
#include <kin/serialize.hpp>

int main() {
  std::function<int(int)> function = [](int x) { return x; };
  static_cast<void>(kin::partial(function, 3));
}
