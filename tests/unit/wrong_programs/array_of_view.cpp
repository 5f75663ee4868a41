// SPDX-License-Identifier: BSL-1.0
// error: kin: values and arrays in shared memory hold plain types: numbers, enums, and structs and arrays of these
#include <kin/shared.hpp>

#include <string_view>

int main() {
  const kin::Array<std::string_view> names(3);
  names[0] = "nobody";
}
