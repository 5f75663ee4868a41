// SPDX-License-Identifier: BSL-1.0
//
// Which descriptors a child has, against CPython's TestCloseFds: a child is a fork, so all that its
// parent had, except what kin keeps of the parent's other children.
//
// Fails when:
//   forget_children_of_parent() does not close a pidfd_: test_closefd_of_siblings

#include "trial.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace trial;

TEST_SUITE("close_fds") {
  TEST_CASE_FIXTURE(Trial, "test_closefd") {
    const kin::UniqueFd low(::memfd_create("inherited", MFD_CLOEXEC));
    const kin::UniqueFd high(::fcntl(low.get(), F_DUPFD_CLOEXEC, 500));
    REQUIRE(high.get() >= 500);
    for (const bool daemon : {false, true}) {
      CHECK(outcome(kin::ProcessOptions{.daemon = daemon},
                    [fd = high.get()] { expect(::write(fd, "here", 4) == 4); }) == 0);
    }
    CHECK(::lseek(high.get(), 0, SEEK_CUR) == 8);
  }

  TEST_CASE_FIXTURE(Trial, "test_closefd_of_siblings") {
    const kin::Queue<bool> go_on;
    kin::Process sibling({.daemon = true}, [go_on] { expect(go_on.get_for(patience) == true); });
    sibling.start();
    CHECK(outcome([fd = sibling.sentinel()] {
            // The number may have been used again, for the handle of its parent or of itself.
            const kin::ProcessHandle parent = *kin::parent_process();
            expect(::fcntl(fd, F_GETFD) == -1 || fd == parent.sentinel());
          }) == 0);
    go_on.put(true);
    CHECK(end_of(sibling) == 0);
  }
}
