// SPDX-License-Identifier: BSL-1.0
// error: kin: this function can't travel to another process: it captured something that is more than its bytes
#include <kin/serialize.hpp>

int main() {
  std::string text = "text";
  auto closure = [text] { return text; };
  kin::detail::require_portable_function<decltype(closure)>();
}
