// SPDX-License-Identifier: BSL-1.0
//
// Exit handlers, against CPython's _TestAtExit. A child whose function returns leaves by _exit and
// runs none, not those that it inherited nor its own: what belongs to the whole program is the
// parent's to end. A child that calls std::exit asks for them.
//
// Fails when:
//   live() ends by std::exit: test_atexit
//   live() does not leave(): test_atexit_of_children

#include "trial.hpp"

#include "support/bystander.hpp"

#include <cstdlib>

#include <unistd.h>

using namespace trial;

namespace {

// Counts the runs of an exit handler that `body` registers in a child.
int runs_with(const std::function<void()>& body) {
  const kin::Queue<int> runs;
  CHECK(outcome([&] {
          static kin::Queue<int> told;
          told = runs;
          expect(std::atexit([] { told.put(1); }) == 0);
          body();
        }) == 0);
  return static_cast<int>(runs.size());
}

}  // namespace

TEST_SUITE("at_exit") {
  TEST_CASE_FIXTURE(Trial, "test_atexit") {
    CHECK(runs_with([] {}) == 0);
    CHECK(runs_with([] { std::exit(0); }) == 1);
    CHECK(runs_with([] { ::_exit(0); }) == 0);
  }

  // What kin itself does at the end happens on either way: it waits for its children.
  TEST_CASE_FIXTURE(Trial, "test_atexit_of_children") {
    for (const bool exits : {false, true}) {
      const kin::Queue<int> queue;
      CHECK(outcome([=] {
              // Never destroyed, so neither waits for its child. Static, so that they are no leak.
              static kin::Process* child = nullptr;
              static kin::Process* daemon = nullptr;
              child = new kin::Process([=, creator = ::getpid()] {
                expect(queue.get_for(patience) == 1);
                char state = '?';
                expect(eventually([&] {
                  state = crash::process_state(creator);
                  return state == 'S' || state == 'Z' || state == '?';
                }));
                if (state == 'S') queue.put(2);
              });
              daemon = new kin::Process({.daemon = true}, [] {
                while (true) ::pause();
              });
              child->start();
              daemon->start();
              queue.put(1);
              if (exits) std::exit(0);
            }) == 0);
      CHECK(queue.try_get() == 2);
    }
  }
}
