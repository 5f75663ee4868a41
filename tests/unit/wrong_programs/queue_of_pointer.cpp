// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't travel in a message: pointers, references, iterators and views mean nothing in another process
#include <kin/queue.hpp>

int main() { const kin::Queue<int*> queue; }
