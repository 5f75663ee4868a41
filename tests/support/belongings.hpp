// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace support {

/// What a process has open, and whom it has to reap: a test ends with what it began with.
///
///     const support::Belongings before;
///     …
///     CHECK(before.difference_now() == "");
class Belongings {
 public:
  /// Those of this process, now.
  Belongings();
  /// What this process has more and what it has less by now, in words; empty if nothing.
  [[nodiscard]] std::string difference_now() const;
  /// Whether a descriptor of what begins so is among them.
  [[nodiscard]] bool include(std::string_view target) const;

 private:
  std::map<int, std::string> descriptors_;  // with what they are of
  std::set<pid_t> children_;
};

/// How many descriptors this process has open.
int open_descriptors();

}  // namespace support
