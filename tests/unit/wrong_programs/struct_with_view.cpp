// SPDX-License-Identifier: BSL-1.0
// error: kin: this struct can't travel in a message: one of its members can't
#include <kin/serialize.hpp>

#include <string_view>

struct Word {
  int id;
  std::string_view text;
};

int main() { kin::detail::require_sendable<std::vector<Word>>(); }
