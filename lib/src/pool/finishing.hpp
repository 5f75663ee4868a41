// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <memory>

namespace kin::detail {

/// The executors of this process whose work is waited for when the program ends, as exit() runs what was
/// registered with std::atexit.
struct Finishing {
  template <typename Engine>
  static void add(const std::shared_ptr<Engine>& engine) {
    add({engine, engine.get()}, [](void* one) { static_cast<Engine*>(one)->finish_at_end(); });
  }

 private:
  static void add(const std::shared_ptr<void>& engine, void (*finish)(void*));
};

}  // namespace kin::detail
