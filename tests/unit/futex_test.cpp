// SPDX-License-Identifier: BSL-1.0

#include "waiting/futex.hpp"

#include "frame.hpp"

#include <climits>

using kin::detail::Deadline;
using kin::detail::futex_wait_slice;
using kin::detail::futex_wake;
using kin::detail::FutexWord;

namespace {

// Until a wake was answered by somebody.
bool wake_reaches_one(FutexWord& word) {
  return unit::eventually([&] { return futex_wake(word, 1) == 1; });
}

}  // namespace

TEST_SUITE("futex") {
  TEST_CASE("who expects another value does not sleep") {
    const FutexWord word = 1;
    CHECK_FALSE(futex_wait_slice(word, 2, unit::last_moment()));
  }

  TEST_CASE("a sleep ends with its deadline") {
    const FutexWord word = 1;
    const Deadline deadline = Deadline::after(std::chrono::milliseconds(5));
    CHECK_FALSE(futex_wait_slice(word, 1, deadline));
    CHECK(deadline.has_passed());
    CHECK_FALSE(futex_wait_slice(word, 1, Deadline::passed()));
  }

  TEST_CASE("nobody sleeps longer than a slice, although nobody wakes") {
    const FutexWord word = 1;
    const std::int64_t begin = Deadline::now();
    CHECK_FALSE(futex_wait_slice(word, 1, Deadline::never()));
    CHECK(Deadline::now() - begin >= kin::detail::slice_nanoseconds);
  }

  TEST_CASE("where nobody sleeps a wake finds nobody") {
    FutexWord word = 1;
    CHECK(futex_wake(word, 1) == 0);
    CHECK(futex_wake(word, INT_MAX) == 0);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a sleeper in another process is woken") {
    const crash::SharedPage<FutexWord> word;
    unit::Relative sleeper([&] {
      while (!futex_wait_slice(*word, 0, unit::last_moment())) {
        if (*word != 0) return "left alone";
      }
      return "woken";
    });
    CHECK(wake_reaches_one(*word));
    CHECK(sleeper.answer() == "woken");
  }

  TEST_CASE_FIXTURE(unit::Frame, "no more are woken than were asked for") {
    const crash::SharedPage<FutexWord> word;
    const auto sleep = [&] {
      while (!futex_wait_slice(*word, 0, unit::last_moment())) {
      }
      return "woken";
    };
    unit::Relative first(sleep);
    unit::Relative second(sleep);
    CHECK(wake_reaches_one(*word));
    CHECK(wake_reaches_one(*word));
    CHECK(first.answer() == "woken");
    CHECK(second.answer() == "woken");
  }
}
