// SPDX-License-Identifier: BSL-1.0
//
// Here and not in the header, so that the answer is the library's and not the program's.

#include <kin/version.hpp>

namespace kin {

std::string_view version() noexcept { return KIN_VERSION; }

}  // namespace kin
