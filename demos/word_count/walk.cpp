// SPDX-License-Identifier: BSL-1.0

#include "word_count/walk.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

namespace word_count {

namespace fs = std::filesystem;

void find_files(const std::string& directory, const std::function<void(File)>& found,
                std::vector<Unreadable>& unreadable) {
  std::vector<fs::path> to_visit{directory};
  while (!to_visit.empty()) {
    const fs::path visited = std::move(to_visit.back());
    to_visit.pop_back();
    std::error_code error;
    for (fs::directory_iterator entry(visited, error), end; !error && entry != end;
         entry.increment(error)) {
      // Mostly the directory tells the kind, and the file need not be looked at for it.
      std::error_code unknown;
      const bool is_link = entry->is_symlink(unknown);
      const bool is_directory = !unknown && !is_link && entry->is_directory(unknown);
      const bool is_file = !unknown && !is_link && entry->is_regular_file(unknown);
      if (unknown) {
        unreadable.push_back({entry->path().native(), unknown.message()});
      } else if (is_directory) {
        to_visit.push_back(entry->path());
      } else if (is_file) {
        const std::uintmax_t size = entry->file_size(unknown);  // whoever opens it finds out
        found({.path = entry->path().native(), .size = unknown ? 0 : size});
      }
    }
    if (error) unreadable.push_back({visited.native(), error.message()});
  }
}

}  // namespace word_count
