// SPDX-License-Identifier: BSL-1.0
// error: kin: what lies in a SharedObject's memory can't leave it: copy it into a std::string
#include <kin/shared.hpp>

int main() {
  const kin::SharedObject<kin::SharedString> text("words");
  return static_cast<int>(text.with([](kin::SharedString& all) { return all; }).size());
}
