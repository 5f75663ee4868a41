// SPDX-License-Identifier: BSL-1.0
// error: kin: this is no function
#include <kin/serialize.hpp>

int main() { kin::detail::require_portable_function<int>(); }
