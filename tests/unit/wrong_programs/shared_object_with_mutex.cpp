// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't live in a SharedObject: it, or a member of it, has its memory
#include <kin/shared.hpp>

#include <mutex>

struct Guarded {
  std::mutex mutex;
  int number = 0;
};

int main() { const kin::SharedObject<Guarded> guarded; }
