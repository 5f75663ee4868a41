// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdio>
#include <string>

namespace bench {

/// The number that a Python script prints; 0 where there is no python3. No single quotes in it.
inline double run_python(const std::string& script, const std::string& arguments) {
  const std::string command = "python3 -c '" + script + "' " + arguments + " 2>/dev/null";
  std::FILE* output = popen(command.c_str(), "r");  // NOLINT(cert-env33-c): python3 of the PATH
  if (output == nullptr) return 0;
  double number = 0;
  if (std::fscanf(output, "%lf", &number) != 1) number = 0;
  pclose(output);
  return number;
}

}  // namespace bench
