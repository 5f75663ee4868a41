// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/fork_lock.hpp"

#include <mutex>
#include <utility>

namespace kin::detail {

/// A mutex that owns its data, for the threads of one process.
///
/// After fork: the child finds it unlocked, and the data whole: ForkLock is held over every fork.
template <typename T>
class Guarded {
 public:
  Guarded() = default;
  explicit Guarded(T value) : value_(std::move(value)) {}

  /// Calls `use(T&)` while it holds the lock.
  template <typename Use>
  auto with(Use&& use) {
    const std::scoped_lock lock(mutex_);
    return std::forward<Use>(use)(value_);
  }

 private:
  ForkLock mutex_;
  T value_{};
};

}  // namespace kin::detail
