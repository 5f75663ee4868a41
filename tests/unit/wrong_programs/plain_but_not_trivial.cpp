// SPDX-License-Identifier: BSL-1.0
// error: kin: kin::is_plain is set for a class that is not trivially copyable
#include <kin/serialize.hpp>

class Name {
  std::string text_;
};

template <>
inline constexpr bool kin::is_plain<Name> = true;

int main() { kin::detail::require_sendable<Name>(); }
