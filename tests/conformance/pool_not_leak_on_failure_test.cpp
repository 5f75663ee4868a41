// SPDX-License-Identifier: BSL-1.0
//
// A pool that can't be made, against CPython's TestPoolNotLeakOnFailure.
//
// Fails when:
//   WorkerPool::start() takes `failed` for an answer: test_release_unused_processes

#include "trial.hpp"

#include <cerrno>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

using namespace trial;

TEST_SUITE("pool_not_leak_on_failure") {
  // Each worker takes descriptors; with one more in each round every step of the way fails once, the
  // fourth worker's start included.
  TEST_CASE_FIXTURE(Trial, "test_release_unused_processes") {
    CHECK(outcome([] {
            // Whoever is left by others becomes a child of this process.
            expect(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
            expect(outcome([] {}) == 0);
            try {
              throw kin::SystemError("a call", EMFILE);
            } catch (const kin::SystemError& error) {
              expect(error.code().value() == EMFILE);
            }
            rlimit usual{};
            expect(::getrlimit(RLIMIT_NOFILE, &usual) == 0);
            const int descriptors = support::open_descriptors();
            int failures = 0;
            bool is_made = false;
            for (rlim_t room = 0; !is_made; ++room) {
              const rlimit few{room, usual.rlim_max};
              expect(::setrlimit(RLIMIT_NOFILE, &few) == 0);
              try {
                kin::Pool pool(6);
                is_made = true;
                expect(pool.worker_pids().size() == 6);
              } catch (const kin::SystemError& error) {
                expect(error.code().value() == EMFILE);
                ++failures;
              }
              expect(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
              expect(kin::active_children().empty());
              expect(::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD);
              expect(support::open_descriptors() == descriptors);
            }
            // At least one for each worker.
            expect(failures >= 6);
          }) == 0);
  }
}
