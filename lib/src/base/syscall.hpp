// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/error.hpp>

#include <cerrno>

namespace kin::detail {

/// Calls `call` again while a signal interrupts it.
template <typename Call>
auto retry_interrupted(Call&& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

/// The result of a system call, or SystemError that names the call.
template <typename Result>
Result checked(const char* name, Result result) {
  if (result == static_cast<Result>(-1)) throw SystemError(name, errno);
  return result;
}

}  // namespace kin::detail
