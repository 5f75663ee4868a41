// SPDX-License-Identifier: BSL-1.0
// error: kin: this class can't travel in a message: give it a Boost serialize()
#include <kin/serialize.hpp>

int main() {
  int number = 0;
  auto closure = [&number] { return number; };
  kin::detail::require_sendable<decltype(closure)>();
}
