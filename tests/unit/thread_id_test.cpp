// SPDX-License-Identifier: BSL-1.0

#include "base/thread_id.hpp"

#include "frame.hpp"

using kin::detail::thread_id;

TEST_SUITE("thread_id") {
  TEST_CASE("it is the kernel's, and another for each thread") {
    CHECK(thread_id() == ::gettid());
    CHECK(thread_id() == ::gettid());
    bool same = false;
    bool as_kernel = false;
    std::thread([&, outside = thread_id()] {
      same = thread_id() == outside;
      as_kernel = thread_id() == ::gettid();
    }).join();
    CHECK_FALSE(same);
    CHECK(as_kernel);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child does not take its parent's for its own") {
    static_cast<void>(thread_id());
    CHECK(unit::answer_of([] { return thread_id() == ::gettid() ? "own" : "parent's"; }) == "own");
  }
}
