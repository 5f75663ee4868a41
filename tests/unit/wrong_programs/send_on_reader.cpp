// SPDX-License-Identifier: BSL-1.0
// error: no member named 'send'
#include <kin/connection.hpp>

int main() {
  const auto [reader, writer] = kin::SimplexPipe<int>();
  reader.send(1);
}
