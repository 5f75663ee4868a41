// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't travel in a message: pointers, references, iterators and views mean nothing in another process
#include <kin/queue.hpp>

#include <string_view>

int main() {
  const kin::Queue<std::string_view> queue;
  queue.put("words");
}
