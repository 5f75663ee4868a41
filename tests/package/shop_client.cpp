// SPDX-License-Identifier: BSL-1.0
#include "shop.hpp"

#include <iostream>

int main(int /*count*/, char** words) {
  const kin::Manager manager = kin::Manager::connect(words[1], std::string("open sesame"));
  const auto stock = manager.find<kin::managed::Dict<std::string, int>>("stock");
  stock.fetch_add("pears", -2);
  stock["plums"] = 7;
  const auto shop = manager.find<kin::Proxy<Shop>>("shop");
  std::cout << shop.call(&Shop::buy, 4) << ' ' << manager.make<Shop>(5).call(&Shop::buy, 4) << '\n';
  try {
    shop.call(&Shop::buy, 1000);
  } catch (const std::out_of_range& error) {
    std::cout << error.what() << '\n';
  }
  manager.find<kin::managed::Queue<std::string>>("orders").put("four pears, said Grüße");
}
