// SPDX-License-Identifier: BSL-1.0
// error: kin: a C array can't travel in a message by itself
#include <kin/serialize.hpp>

int main() { kin::detail::require_sendable<int[3]>(); }
