// SPDX-License-Identifier: BSL-1.0
#include "shop.hpp"

#include <iostream>

// Says where it is, and what it is told.
int main() {
  const kin::Manager manager({.address = "127.0.0.1:0", .authkey = "open sesame"});
  const auto orders = manager.queue<std::string>();
  const auto stock = manager.dict<std::string, int>({{"pears", 5}});
  manager.publish("orders", orders);
  manager.publish("stock", stock);
  manager.publish("shop", manager.make<Shop>(3));
  std::cout << manager.address() << std::endl;
  std::cout << orders.get() << ' ' << stock << std::endl;
}
