// SPDX-License-Identifier: BSL-1.0
// error: kin: this function can't travel to another process
#include <kin/serialize.hpp>

int square(int x) { return x * x; }

int main() { kin::detail::require_portable_function<decltype(std::bind(square, 3))>(); }
