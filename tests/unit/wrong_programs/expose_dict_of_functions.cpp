// SPDX-License-Identifier: BSL-1.0
// error: kin: an address of code can't come from another program
#include <kin/expose.hpp>

#include <string>

int main() { kin::expose<kin::managed::Dict<std::string, int (*)(int)>>(); }
