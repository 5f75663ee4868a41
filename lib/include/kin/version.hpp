// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <string_view>

/// The version of these headers, with which the program is compiled. project() in meson.build says
/// the same, or nothing is built.
// For #if. NOLINTBEGIN(modernize-macro-to-enum)
#define KIN_VERSION_MAJOR 0
#define KIN_VERSION_MINOR 1
#define KIN_VERSION_PATCH 0
// NOLINTEND(modernize-macro-to-enum)

namespace kin {

/// The version of the library that the program runs with, "0.1.0". A shared library may be replaced
/// by one of the same soname, and so be newer or older than the headers above.
[[nodiscard]] KIN_EXPORT std::string_view version() noexcept;

}  // namespace kin
