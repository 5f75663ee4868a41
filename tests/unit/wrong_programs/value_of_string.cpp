// SPDX-License-Identifier: BSL-1.0
// error: kin: values and arrays in shared memory hold plain types: numbers, enums, and structs and arrays of these
#include <kin/shared.hpp>

#include <string>

int main() {
  const kin::Value<std::string> name("nobody");
  name.with([](std::string& text) { text += "!"; });
}
