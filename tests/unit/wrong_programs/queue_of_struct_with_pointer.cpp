// SPDX-License-Identifier: BSL-1.0
// error: kin: this struct can't travel in a message: one of its members can't
#include <kin/queue.hpp>

struct Node {
  int value;
  Node* next;
};

void work(const kin::JoinableQueue<Node>& nodes) { nodes.put({1, nullptr}); }

int main() { work({}); }
