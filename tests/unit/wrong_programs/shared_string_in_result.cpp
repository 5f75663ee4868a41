// SPDX-License-Identifier: BSL-1.0
// error: kin: what lies in a SharedObject's memory can't leave it: copy it into a std::string
#include <kin/shared.hpp>

struct Player {
  kin::SharedString name;
  int points = 0;
};

int main() {
  const kin::SharedObject<Player> player;
  return player.read([](const Player& one) { return one; }).points;
}
