// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

/// For cases that need a process that has no arena yet, or one of another size.
namespace support {

/// Whether this is the process in which such a case does its work.
inline bool is_again() { return std::getenv("KIN_TEST_AGAIN") != nullptr; }

/// Runs the case of that name (without a comma in it) in a process of its own, with KIN_ARENA_BYTES
/// set: empty if it passed there, else what it printed. A command such as `ulimit` may come first.
///
///     if (!support::is_again()) {
///       CHECK(support::again("the name of this case", "16777216") == "");
///       return;
///     }
inline std::string again(const std::string& name, const std::string& arena_bytes,
                         const std::string& first = "true") {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = first + "; KIN_TEST_AGAIN=1 KIN_ARENA_BYTES='" + arena_bytes + "' '" +
                              program + "' --no-colors '--test-case=" + name + "' 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  std::string output;
  std::array<char, 4096> part{};
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), pipe)) {
    output.append(part.data(), count);
  }
  const int status = ::pclose(pipe);
  const bool ran = output.find("case: " + name) != std::string::npos;
  if (status == 0 && ran) return "";
  return "status " + std::to_string(status) + ":\n" + output;
}

}  // namespace support
