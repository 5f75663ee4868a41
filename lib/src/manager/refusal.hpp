// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <typeinfo>

namespace kin::detail {

/// What a call of another program's manager ended with that is not exposed, with the name of what was called:
/// that only who calls knows. `function` is void for a batch; `arguments` are those of the message, and may
/// be empty.
[[nodiscard]] std::exception_ptr name_refused(const std::exception_ptr& refusal,
                                              const std::type_info& function,
                                              std::span<const std::byte> arguments);

}  // namespace kin::detail
