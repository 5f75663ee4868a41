// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>
#include <typeinfo>

namespace kin::detail {

/// The type's name as it is written in a program: std::out_of_range.
std::string readable_type(const std::type_info& type);

/// What an exception says to people.
struct ExceptionText {
  /// Of std::throw_with_nested(E()): E.
  std::string type_name;
  /// What what() says, or the text or the number that was thrown. Empty if there is none.
  std::string message;
};

/// Of the exception that is being handled, whatever it is. Throws nothing but std::bad_alloc.
ExceptionText text_of_exception();

/// The same as one line: "std::out_of_range: no such key".
std::string describe_exception();

}  // namespace kin::detail
