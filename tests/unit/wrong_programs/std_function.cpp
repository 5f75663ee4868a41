// SPDX-License-Identifier: BSL-1.0
// error: kin: a std::function can't travel in a message: it hides what it captured
#include <kin/serialize.hpp>

int main() { kin::detail::require_sendable<std::function<int(int)>>(); }
