// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <stdexcept>
#include <string>

namespace word_count {

struct Options {
  std::string directory = ".";
  int processes = 0;  ///< how many counters
  bool json = false;
  bool check = false;
  bool help = false;
};

extern const char* const help_text;

/// The command line can't be understood; what() says why in a line.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[nodiscard]] Options parse_options(int argc, char** argv);

}  // namespace word_count
