// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "word_count/tally.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace word_count {

struct File {
  std::string path;
  std::uint64_t size = 0;
};

/// Calls `found` for each plain file below the directory. Symbolic links are not followed, except
/// that `directory` itself may be one. Directories that can't be read are added to `unreadable`.
void find_files(const std::string& directory, const std::function<void(File)>& found,
                std::vector<Unreadable>& unreadable);

}  // namespace word_count
