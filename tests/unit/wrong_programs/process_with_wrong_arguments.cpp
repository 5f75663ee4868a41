// SPDX-License-Identifier: BSL-1.0
// error: no matching
#include <kin/process.hpp>

int main() {
  kin::Process child([](int number) { return number; }, "a text");
  child.start();
}
