// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <new>

namespace kin::detail {

/// An object that is never destroyed, for statics that exit handlers and forks may still use.
///
/// It lies among the library's own data, not on the heap: what every fork touches shares a few pages,
/// and each page costs the child a fault.
template <typename T>
class Immortal {
 public:
  Immortal() { ::new (static_cast<void*>(storage_)) T(); }

  T& operator*() noexcept { return *std::launder(reinterpret_cast<T*>(storage_)); }
  T* operator->() noexcept { return &**this; }

 private:
  alignas(T) std::byte storage_[sizeof(T)]{};
};

/// For a function whose static a forked child may use: calls it when the library is loaded.
///
///     [[maybe_unused]] const bool family_is_made = made_at_load(family);
///
/// A static that one thread is just making while another forks stays half made in the child, which would
/// wait for it for ever.
template <typename Function>
bool made_at_load(Function&& function) {
  static_cast<void>(function());
  return true;
}

}  // namespace kin::detail
