// SPDX-License-Identifier: BSL-1.0

#include "base/signal_mask.hpp"

#include "frame.hpp"

#include <csignal>

using kin::detail::SignalsBlocked;

namespace {

volatile std::sig_atomic_t signals_seen = 0;

// Counts SIGUSR1 for the length of a case.
class CountsSignals {
 public:
  CountsSignals() {
    signals_seen = 0;
    struct sigaction counting {};
    counting.sa_handler = [](int) { signals_seen = signals_seen + 1; };
    sigaction(SIGUSR1, &counting, &before_);
  }
  CountsSignals(const CountsSignals&) = delete;
  CountsSignals& operator=(const CountsSignals&) = delete;
  ~CountsSignals() { sigaction(SIGUSR1, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

bool is_blocked(int signal) {
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  return sigismember(&now, signal) == 1;
}

}  // namespace

TEST_SUITE("signal_mask") {
  TEST_CASE_FIXTURE(unit::Frame, "a signal in the scope arrives at its end") {
    const CountsSignals counting;
    {
      const SignalsBlocked blocked;
      CHECK(is_blocked(SIGUSR1));
      CHECK(is_blocked(SIGTERM));
      std::raise(SIGUSR1);
      CHECK(signals_seen == 0);
      { const SignalsBlocked inner; }
      CHECK(signals_seen == 0);
    }
    CHECK(signals_seen == 1);
  }

  TEST_CASE_FIXTURE(unit::Frame, "what was blocked before stays blocked, and only that") {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &one, nullptr);
    { const SignalsBlocked blocked; }
    CHECK(is_blocked(SIGUSR2));
    CHECK_FALSE(is_blocked(SIGUSR1));
    pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "a child that is forked in the scope starts with signals blocked") {
    std::optional<SignalsBlocked> blocked(std::in_place);
    unit::Relative child([&] {
      if (!is_blocked(SIGUSR1)) return "not blocked";
      blocked.reset();
      return is_blocked(SIGUSR1) ? "still blocked" : "as before";
    });
    blocked.reset();
    CHECK(child.answer() == "as before");
  }
}
