// SPDX-License-Identifier: BSL-1.0
//
// Waiting for a process while signals arrive, against CPython's _TestPollEintr.
//
// Fails when:
//   wait_for_death() does not except EINTR: test_poll_eintr

#include "trial.hpp"

#include "support/bystander.hpp"

#include <csignal>
#include <unistd.h>

using namespace trial;

namespace {

volatile std::sig_atomic_t signals_seen = 0;

}  // namespace

TEST_SUITE("poll_eintr") {
  // The child signals only when its parent sleeps in join(), again and again, until a handler has
  // run. It can't see the handler run, but that its parent was awake: three times asleep again will
  // do.
  TEST_CASE_FIXTURE(Trial, "test_poll_eintr") {
    struct sigaction count {};
    count.sa_handler = [](int) { signals_seen = signals_seen + 1; };  // without SA_RESTART
    struct sigaction before {};
    REQUIRE(::sigaction(SIGUSR1, &count, &before) == 0);
    signals_seen = 0;
    kin::Process child([parent = ::getpid()] {
      for (int i = 0; i < 3; ++i) {
        expect(eventually([&] { return crash::process_state(parent) == 'S'; }));
        expect(::kill(parent, SIGUSR1) == 0);
      }
    });
    child.start();
    child.join();
    CHECK(signals_seen >= 1);
    CHECK(child.exit_code() == 0);
    REQUIRE(::sigaction(SIGUSR1, &before, nullptr) == 0);
  }
}
