// SPDX-License-Identifier: BSL-1.0

#include "base/syscall.hpp"

#include <doctest/doctest.h>

#include <ostream>
#include <string>

using kin::detail::checked;
using kin::detail::retry_interrupted;

TEST_SUITE("syscall") {
  TEST_CASE("a result passes through, a failure names its call and its reason") {
    CHECK(checked("open", 3) == 3);
    CHECK(checked("read", 0L) == 0);
    errno = ENOENT;
    try {
      checked("open", -1);
      FAIL("nothing was thrown");
    } catch (const kin::SystemError& error) {
      CHECK(error.call() == "open");
      CHECK(error.code() == std::errc::no_such_file_or_directory);
    }
  }

  TEST_CASE("a call that a signal interrupted is made again, one that failed is not") {
    int calls = 0;
    CHECK(retry_interrupted([&] {
            errno = EINTR;
            return ++calls < 3 ? -1 : 5;
          }) == 5);
    CHECK(calls == 3);
    calls = 0;
    CHECK(retry_interrupted([&] {
            ++calls;
            errno = EIO;
            return -1;
          }) == -1);
    CHECK(calls == 1);
  }
}
