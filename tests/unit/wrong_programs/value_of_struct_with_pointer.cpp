// SPDX-License-Identifier: BSL-1.0
// error: kin: values and arrays in shared memory hold plain types: numbers, enums, and structs and arrays of these
#include <kin/shared.hpp>

struct Node {
  int number;
  Node* next;
};

int main() {
  const kin::RawValue<Node> node;
  node->number = 1;
}
