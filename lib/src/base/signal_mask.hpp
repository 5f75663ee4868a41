// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <csignal>

namespace kin::detail {

/// Blocks every signal of this thread for the length of a scope.
/// After fork: the child's copy restores the child's mask, where its scope ends.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace kin::detail
