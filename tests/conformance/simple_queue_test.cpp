// SPDX-License-Identifier: BSL-1.0
//
// SimpleQueue, another name of Queue, against CPython's TestSimpleQueue.
//
// Fails when:
//   Handle::checked_object() does not look at `closed`: test_empty_exceptions

#include "trial.hpp"

using namespace trial;

TEST_SUITE("simple_queue") {
  TEST_CASE_FIXTURE(Trial, "test_empty_exceptions") {
    const kin::SimpleQueue<int> queue;
    queue.close();
    CHECK_THROWS_WITH_AS(static_cast<void>(queue.empty()), doctest::Contains("close()"),
                         std::logic_error);
  }

  TEST_CASE_FIXTURE(Trial, "test_empty") {
    const Kind kind = each_kind();
    const kin::SimpleQueue<bool> queue;
    const kin::SimpleQueue<bool> child_can_start;
    Companion putter(kind, [=] {
      expect(child_can_start.get_for(patience) == true);
      queue.put(true);
      queue.put(false);
    });
    CHECK(queue.empty());
    child_can_start.put(true);
    CHECK(putter.ends_well());
    CHECK_FALSE(queue.empty());
    CHECK(queue.get_for(patience) == true);
    CHECK_FALSE(queue.empty());
    CHECK(queue.get_for(patience) == false);
    CHECK(queue.empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_close") {
    const kin::SimpleQueue<int> queue;
    queue.close();
    queue.close();
    const kin::SimpleQueue<int> copy = queue;
    copy.close();
  }
}
