// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <mutex>

namespace kin::detail {

/// A mutex for the threads of one process that is held over every fork.
///
/// Without that, a child could inherit it locked by a thread that the child does not have, and the
/// data behind it half changed. ForkLocks are not nested in one another, and nothing forks while it
/// holds one; so the order in which a fork takes them does not matter.
/// Lifetime: static objects and members of objects that live as long as the process.
class ForkLock {
 public:
  ForkLock();
  ~ForkLock() = default;
  ForkLock(const ForkLock&) = delete;
  ForkLock& operator=(const ForkLock&) = delete;

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

  /// For the fork handlers: before fork, and after it in the parent and in the child.
  static void lock_all();
  static void unlock_all();
  /// How many there are; forking never makes more.
  static int count();

 private:
  void enter_list();

  std::mutex mutex_;
  ForkLock* next_ = nullptr;
};

}  // namespace kin::detail
