// SPDX-License-Identifier: BSL-1.0
//
// Fails when:
//   warn_of_threads() looks once: "a thread that was joined …"
//   count_threads() takes all threads for the application's: "a thread of kin's own …"
//   start_own_thread() counts in the thread itself: "… from before it is there"
//   OwnThread::forget() does nothing: "a child has none"

#include "base/own_thread.hpp"
#include "frame.hpp"
#include "nursery/house_process.hpp"
#include "os/fork.hpp"
#include "support/no_more_threads.hpp"
#include "support/sanitizer.hpp"

#include <kin/log.hpp>

#include <doctest/doctest.h>

#include <cstdio>
#include <latch>
#include <string>
#include <string_view>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

// The thread sanitizer has a thread of its own, which counts.
TEST_SUITE("own thread" * doctest::skip(support::is_thread_sanitized)) {
  using namespace unit;
  using kin::detail::OwnThread;

  /// What is warned of meanwhile.
  class Warnings {
   public:
    Warnings() {
      kin::set_log_sink([this](kin::LogLevel, std::string_view line) { text_ += line; });
    }
    Warnings(const Warnings&) = delete;
    Warnings& operator=(const Warnings&) = delete;
    ~Warnings() { kin::set_log_sink({}); }

    std::string of_threads() {
      text_.clear();
      kin::detail::warn_of_threads("it", "it forks");
      return text_;
    }

   private:
    std::string text_;
  };

  TEST_CASE("a thread that was joined is not warned of") {
    const Frame frame;
    Warnings warnings;
    for (int i = 0; i < 20'000; ++i) {
      std::thread([] {}).join();
      REQUIRE(warnings.of_threads() == "");
    }
  }

  TEST_CASE("a thread of kin's own is not warned of, from before it is there until it has ended") {
    const Frame frame;
    Warnings warnings;
    for (int i = 0; i < 1000; ++i) {
      std::latch may_end(1);
      std::thread own = kin::detail::start_own_thread([&] { may_end.wait(); });
      REQUIRE(OwnThread::living() == 1);
      REQUIRE(warnings.of_threads() == "");
      may_end.count_down();
      own.join();
      REQUIRE(OwnThread::living() == 0);
    }
    std::string text;
    std::thread own = kin::detail::start_own_thread([&] { text = warnings.of_threads(); });
    own.join();
    CHECK(text.find("2 threads") != std::string::npos);
  }

  TEST_CASE("a thread that can't be had is not counted") {
    const Frame frame;
    const support::NoMoreThreads none;
    CHECK_THROWS_AS(kin::detail::start_own_thread([] {}), kin::SystemError);
    CHECK(OwnThread::living() == 0);
  }

  TEST_CASE("a child has none") {
    const Frame frame;
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    REQUIRE(kin::detail::set_fork_handlers());
    std::latch may_end(1);
    std::thread own = kin::detail::start_own_thread([&] { may_end.wait(); });
    const pid_t child = ::fork();
    REQUIRE(child != -1);
    if (child == 0) ::_exit(OwnThread::living());
    may_end.count_down();
    own.join();
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
}
