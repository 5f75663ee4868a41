// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't travel in a message: pointers, references, iterators and views mean nothing in another process
#include <kin/serialize.hpp>

int main() { kin::detail::require_sendable<std::vector<int*>>(); }
