// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"

#include <kin/log.hpp>

#include <string>

namespace kin::detail {

/// Logs a line that is put together only if that level is shown. Where there is no memory for it there is
/// none: what is logged must not stop what it tells of.
inline void log_text(LogLevel level, FunctionRef<std::string()> text) noexcept {
  if (level < log_level()) return;
  try {
    log(level, text());
  } catch (...) {  // NOLINT(bugprone-empty-catch): see above
  }
}

}  // namespace kin::detail
