// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"

#include <source_location>
#include <string>

namespace kin::detail {

/// "bank.cpp:12, in void move(int)"; empty where it can't be known. `process` is the one that noted it: its
/// texts lie in a program or library which, if it was loaded late, this process has not.
std::string place_text(std::source_location where, Stamp process);

}  // namespace kin::detail
