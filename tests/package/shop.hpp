// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/kin.hpp>

#include <stdexcept>
#include <string>

// What two programs that are built apart have in common.
class Shop {
 public:
  explicit Shop(int price) : price_(price) {}
  int buy(int pears) {
    if (pears > 100) throw std::out_of_range("so many there are not");
    return pears * price_;
  }

 private:
  int price_;
};

inline const bool shop_is_exposed = kin::expose<Shop, kin::constructor<int>, &Shop::buy>() &&
                                    kin::expose<kin::managed::Dict<std::string, int>>() &&
                                    kin::expose<kin::managed::Queue<std::string>>();
