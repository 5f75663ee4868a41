// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't travel in a message: pointers, references, iterators and views mean nothing in another process
#include <kin/connection.hpp>

int main() {
  const kin::Pipe<const char*> pipe;
  pipe.first.send("words");
}
