// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't live in a SharedObject: it, or a member of it, has its memory in one process; use kin::SharedString
#include <kin/shared.hpp>

struct Node {
  int number = 0;
  Node* next = nullptr;
};

int main() {
  const kin::SharedObject<Node> node;
  node.with([](Node& first) { first.number = 1; });
}
