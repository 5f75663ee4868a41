// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/exception_type.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>

namespace kin::detail {

struct KnownException {
  /// Means the same type in all kin.
  std::string key;
  ExceptionType type;
};

/// For an exception of that type, whose name for people is `name`. The name counts where the type is
/// the standard library's wrapping of another, and then says only what it may be: save() finds out.
std::optional<KnownException> find_exception(const std::type_info& type, std::string_view name);

/// None: nothing is known of it in this process.
std::optional<ExceptionType> find_exception(std::string_view key);

}  // namespace kin::detail
