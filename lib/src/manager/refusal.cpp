// SPDX-License-Identifier: BSL-1.0
//
// Refused calls are named in the process that made them. The programs in between know addresses and numbers.

#include "manager/refusal.hpp"

#include "base/readable_type.hpp"

#include <kin/detail/callable.hpp>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kin::detail {
namespace {

// The code that is called, where the arguments begin with its address: for pointers to functions, and to member
// functions that are not virtual. It is only looked up, not called.
const void* code_in(const std::type_info& function, std::span<const std::byte> arguments) {
  const std::string_view mangled = function.name();
  if (!mangled.starts_with("PF") && !mangled.starts_with('M')) return nullptr;
  std::uintptr_t code = 0;
  if (arguments.size() < sizeof code) return nullptr;
  std::memcpy(&code, arguments.data(), sizeof code);
  return reinterpret_cast<const void*>(code);
}

}  // namespace

std::exception_ptr name_refused(const std::exception_ptr& refusal, const std::type_info& function,
                                std::span<const std::byte> arguments) {
  std::string text;
  try {
    std::rethrow_exception(refusal);
  } catch (const std::invalid_argument& error) {
    text = error.what();
  } catch (...) {
    return refusal;  // there was no memory to write one
  }
  if (function != typeid(void)) {
    const std::string type = readable_type(function);
    const std::string name = describe_function(function, code_in(function, arguments));
    text += ": " + name;
    if (name != type) text += ", " + type;
  }
  text +=
      ". Both programs have to expose it: kin::expose<T, kin::constructor<…>, &T::function, …>() "
      "for a class, kin::expose<T>() for a ready type and for a value that has a name. What is no "
      "function of either, as a lambda, can't be exposed";
  return std::make_exception_ptr(std::invalid_argument(text));
}

}  // namespace kin::detail
