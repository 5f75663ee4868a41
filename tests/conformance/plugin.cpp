// SPDX-License-Identifier: BSL-1.0
//
// A library that plugin_test.cpp opens at run time. It gives work to a pool, as plugins do.

#include <kin/pool.hpp>

#include <array>
#include <vector>

#define VISIBLE [[gnu::visibility("default")]]

extern "C" {

VISIBLE int call_lambda(kin::Pool& pool, int x) {
  return pool.apply([](int one) { return one + 1; }, x);
}

VISIBLE int call_closure(kin::Pool& pool, int x) {
  return pool.apply([x](int one) { return one + x; }, 1);
}

VISIBLE int map_lambda(kin::Pool& pool, int x) {
  return pool.map([](int one) { return one + 1; }, std::vector<int>{x})[0];
}
}
