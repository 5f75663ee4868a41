// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <type_traits>

#include <sys/mman.h>

namespace crash {

/// A zeroed T in anonymous memory that this process shares with the children it forks later.
///
/// The harness talks to its children through pages of its own, so that it needs nothing of what it
/// tests.
///
/// Lifetime: each process that holds a copy of the mapping unmaps only its own.
template <typename T>
class SharedPage {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  SharedPage() {
    void* place =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "mmap of a page shared with a child");
    }
    value_.reset(::new (place) T{});
  }

  T& operator*() const { return *value_; }
  T* operator->() const { return value_.get(); }

 private:
  struct Unmap {
    void operator()(T* value) const { munmap(value, sizeof(T)); }
  };
  std::unique_ptr<T, Unmap> value_;
};

}  // namespace crash
