// SPDX-License-Identifier: BSL-1.0

#include <kin/detail/deadline.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <limits>

using kin::detail::Deadline;
using namespace std::chrono_literals;

TEST_SUITE("deadline") {
  TEST_CASE("never does not pass, and what has passed needs no clock") {
    CHECK(Deadline::never().is_never());
    CHECK_FALSE(Deadline::never().has_passed());
    CHECK_FALSE(Deadline::never().is_passed_from_start());
    CHECK(Deadline::passed().has_passed());
    CHECK(Deadline::passed().is_passed_from_start());
  }

  TEST_CASE("nothing, less than nothing and what is no number mean now") {
    CHECK(Deadline::after(0s).is_passed_from_start());
    CHECK(Deadline::after(-1ns).is_passed_from_start());
    CHECK(Deadline::after(std::chrono::hours::min()).is_passed_from_start());
    using Seconds = std::chrono::duration<double>;
    CHECK(Deadline::after(Seconds(-0.5)).is_passed_from_start());
    CHECK(
        Deadline::after(Seconds(std::numeric_limits<double>::quiet_NaN())).is_passed_from_start());
    CHECK(
        Deadline::after(Seconds(-std::numeric_limits<double>::infinity())).is_passed_from_start());
  }

  TEST_CASE("what is too long to count means never") {
    using Seconds = std::chrono::duration<double>;
    CHECK(Deadline::after(std::chrono::hours::max()).is_never());
    CHECK(Deadline::after(std::chrono::nanoseconds::max()).is_never());
    CHECK(Deadline::after(Seconds(1e300)).is_never());
    CHECK(Deadline::after(Seconds(std::numeric_limits<double>::infinity())).is_never());
    // Fails where moments are subtracted in their own units.
    using Clock = std::chrono::steady_clock;
    CHECK(Deadline::at(Clock::time_point::max()).is_never());
    CHECK(Deadline::at(std::chrono::time_point<Clock, std::chrono::seconds>::max()).is_never());
    CHECK(Deadline::at(std::chrono::time_point<Clock, std::chrono::hours>::max()).is_never());
    CHECK(Deadline::at(std::chrono::time_point<Clock, std::chrono::hours>::min())
              .is_passed_from_start());
    CHECK(Deadline::at(Clock::time_point::min()).is_passed_from_start());
  }

  TEST_CASE("a duration is counted from now, whatever its unit") {
    const auto check = [](auto duration, std::int64_t nanoseconds) {
      const std::int64_t before = Deadline::now();
      const Deadline deadline = Deadline::after(duration);
      const std::int64_t after = Deadline::now();
      CHECK(deadline.nanoseconds() >= before + nanoseconds - 1);  // a rounding
      CHECK(deadline.nanoseconds() <= after + nanoseconds);
    };
    check(1ns, 1);
    check(250ms, 250'000'000);
    check(10s, 10'000'000'000);
    check(std::chrono::hours(24 * 365), std::int64_t{31'536'000} * 1'000'000'000);
    check(std::chrono::duration<double>(0.5), 500'000'000);
    check(std::chrono::duration<long, std::ratio<1, 3>>(3), 1'000'000'000);
  }

  TEST_CASE("it has passed when the clock is there") {
    CHECK(Deadline::at(Deadline::now()).has_passed());
    CHECK(Deadline::at(Deadline::now() - 1).has_passed());
    CHECK_FALSE(Deadline::at(Deadline::now() + std::int64_t{3'600'000'000'000}).has_passed());
  }
}
