// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/unique_fd.hpp>

#include <string_view>

namespace kin::detail {

/// Moves a descriptor away from the numbers of stdin, stdout and stderr. Where the application has
/// closed one of these, the next descriptor gets its number, and whatever anyone prints goes there.
/// Throws SystemError.
UniqueFd away_from_stdio(UniqueFd fd);

/// Writes a line to stderr, with its newline, in one write if the kernel lets us. Where that can't be
/// written nothing happens, and no SIGPIPE comes of it.
void print_to_stderr(std::string_view line) noexcept;

}  // namespace kin::detail
