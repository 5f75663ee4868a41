// SPDX-License-Identifier: BSL-1.0
//
// Queues handed down through generations, against CPython's TestStartMethod. Fork is the one
// method.
//
// Fails when:
//   a Process takes the first process of its family for its creator: test_nested_startmethod

#include "trial.hpp"

using namespace trial;

TEST_SUITE("start_method") {
  TEST_CASE_FIXTURE(Trial, "test_nested_startmethod") {
    const kin::Queue<int> queue;
    CHECK(outcome(
              [](const kin::Queue<int>& given) {
                given.put(1);
                expect(outcome([](const kin::Queue<int>& passed_on) { passed_on.put(2); }, given) ==
                       0);
              },
              queue) == 0);
    CHECK(queue.try_get() == 1);
    CHECK(queue.try_get() == 2);
    CHECK(queue.empty());
  }
}
