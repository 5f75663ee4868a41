// SPDX-License-Identifier: BSL-1.0

#include <kin/error.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <ostream>
#include <string>
#include <type_traits>

namespace {

template <typename... Errors>
constexpr bool are_errors_of_kin = (std::is_base_of_v<kin::Error, Errors> && ...);
template <typename... Errors>
constexpr bool copy_without_throwing = (std::is_nothrow_copy_constructible_v<Errors> && ...);

static_assert(
    are_errors_of_kin<kin::SystemError, kin::QueueShutDown, kin::OwnerDied, kin::BrokenBarrierError,
                      kin::DeadlockError, kin::SerializationError, kin::TimeoutError,
                      kin::CancelledError, kin::InvalidStateError, kin::RemoteError,
                      kin::WorkerDied, kin::BrokenPool, kin::ManagerDied>);
static_assert(std::is_base_of_v<std::runtime_error, kin::Error>);
static_assert(copy_without_throwing<kin::Error, kin::QueueShutDown, kin::DeadlockError,
                                    kin::SerializationError, kin::TimeoutError, kin::CancelledError,
                                    kin::InvalidStateError, kin::WorkerDied, kin::BrokenPool,
                                    kin::ManagerDied>);

}  // namespace

TEST_SUITE("error") {
  TEST_CASE("a system error says which call failed, and why") {
    const kin::SystemError error("pidfd_open", ESRCH);
    CHECK(error.call() == "pidfd_open");
    CHECK(error.code() == std::errc::no_such_process);
    CHECK(std::string(error.what()) == "pidfd_open: No such process");
  }

  TEST_CASE("an owner's death names the dead and counts what they left") {
    const kin::OwnerDied error("two died", {12, 34}, 5);
    CHECK(error.pids() == std::vector<pid_t>{12, 34});
    CHECK(error.count() == 5);
    CHECK(std::string(error.what()) == "two died");
  }

  TEST_CASE("an error from another process says what it was there, and where") {
    const kin::RemoteError error("std::out_of_range", "no such key", 4711);
    CHECK(error.type_name() == "std::out_of_range");
    CHECK(error.message() == "no such key");
    CHECK(error.pid() == 4711);
    CHECK(std::string(error.what()) == "std::out_of_range: no such key (in process 4711)");
    CHECK(std::string(kin::RemoteError("Odd", "", 1).what()) == "Odd (in process 1)");
  }

  TEST_CASE("a worker's death says who died, and how") {
    const kin::WorkerDied error("the worker was killed", 4711, -9);
    CHECK(error.pid() == 4711);
    CHECK(error.exit_code() == -9);
    CHECK(std::string(error.what()) == "the worker was killed");
  }

  TEST_CASE("what the library throws is caught as what it is, and as an Error") {
    CHECK_THROWS_AS(throw kin::QueueShutDown("over"), kin::QueueShutDown);
    CHECK_THROWS_AS(throw kin::QueueShutDown("over"), kin::Error);
    CHECK_THROWS_AS(throw kin::SystemError("fork", EAGAIN), kin::Error);
    CHECK_THROWS_AS(throw kin::OwnerDied("x", {}, 0), std::runtime_error);
  }

  TEST_CASE("a copy says the same") {
    const kin::SystemError original("fork", EAGAIN);
    kin::SystemError copy("mmap", ENOMEM);
    copy = original;
    CHECK(copy.call() == "fork");
    CHECK(copy.code() == original.code());
    CHECK(std::string(copy.what()) == original.what());
  }
}
