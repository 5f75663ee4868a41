// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/unique_fd.hpp>

#include <cerrno>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

using kin::UniqueFd;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }
UniqueFd open_something() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

static_assert(!std::is_copy_constructible_v<UniqueFd> && !std::is_copy_assignable_v<UniqueFd>);
static_assert(std::is_nothrow_move_constructible_v<UniqueFd>);
static_assert(!std::is_convertible_v<int, UniqueFd> && !std::is_convertible_v<UniqueFd, int>);

}  // namespace

TEST_SUITE("unique_fd") {
  TEST_CASE_FIXTURE(unit::Frame, "it closes what it owns at the end of its scope") {
    int number = -1;
    {
      const UniqueFd fd = open_something();
      REQUIRE(fd);
      number = fd.get();
      CHECK(is_open(number));
    }
    CHECK_FALSE(is_open(number));
  }

  TEST_CASE("every negative number is none") {
    CHECK_FALSE(UniqueFd());
    CHECK_FALSE(UniqueFd(-1));
    CHECK(UniqueFd(-7).get() == -1);
  }

  TEST_CASE_FIXTURE(unit::Frame, "moving leaves nothing behind, and closes what was there") {
    UniqueFd first = open_something();
    const int number = first.get();
    UniqueFd second(std::move(first));
    CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): what is left is what is tested
    CHECK(second.get() == number);

    UniqueFd third = open_something();
    const int other = third.get();
    third = std::move(second);
    CHECK_FALSE(is_open(other));
    CHECK(third.get() == number);

    UniqueFd& itself = third;
    third = std::move(itself);
    CHECK(third.get() == number);
    CHECK(is_open(number));
  }

  TEST_CASE_FIXTURE(unit::Frame, "release gives it away open, reset closes it") {
    UniqueFd fd = open_something();
    const int number = fd.release();
    CHECK_FALSE(fd);
    CHECK(is_open(number));
    fd.reset(number);
    CHECK(fd.get() == number);
    fd.reset();
    CHECK_FALSE(is_open(number));
    fd.reset();
  }

  TEST_CASE("closing leaves errno as it was") {
    errno = ENOTTY;
    UniqueFd(1'000'000).reset();  // close() fails with EBADF
    CHECK(errno == ENOTTY);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child closes its own copy") {
    UniqueFd fd = open_something();
    CHECK(unit::answer_of([&] {
            const int number = fd.get();
            fd.reset();
            return is_open(number) ? "open" : "closed";
          }) == "closed");
    CHECK(is_open(fd.get()));
  }
}
