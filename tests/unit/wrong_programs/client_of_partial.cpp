// SPDX-License-Identifier: BSL-1.0
// error: kin: addresses of functions and members mean nothing in another program
#include <kin/listener.hpp>
#include <kin/serialize.hpp>

int main() { kin::Client<kin::Partial<int (*)(int), int>, int>("@there").close(); }
