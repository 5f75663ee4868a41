// SPDX-License-Identifier: BSL-1.0
// error: no member named 'recv'
#include <kin/connection.hpp>

int main() {
  const auto [reader, writer] = kin::SimplexPipe<int>();
  return writer.recv();
}
