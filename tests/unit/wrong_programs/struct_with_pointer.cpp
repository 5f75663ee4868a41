// SPDX-License-Identifier: BSL-1.0
// error: kin: this struct can't travel in a message: one of its members can't
#include <kin/serialize.hpp>

struct Buffer {
  std::size_t size;
  char* data;
};

int main() { kin::detail::require_sendable<Buffer>(); }
