// SPDX-License-Identifier: BSL-1.0
// error: kin: an address of code can't come from another program
#include <kin/expose.hpp>

using Step = kin::Partial<void (*)(int), int>;

struct Runner {
  explicit Runner(const Step& step) { step(); }
};

int main() { kin::expose<Runner, kin::constructor<Step>>(); }
