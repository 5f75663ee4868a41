// SPDX-License-Identifier: BSL-1.0
//
// A start() that fails: there is no child, and nothing of the attempt is left.
//
// Fails when:
//   LifeLine's destructor does not cut(): "no descriptor left for start()"
//   add_child() takes the life-line before it has all else: "no pidfd of the child"
//   start() does not kill_and_reap(): "no pidfd of the child"

#include "plain_fork.hpp"
#include "trial.hpp"

#include "support/refused_call.hpp"

#include <kin/error.hpp>

#include <cerrno>
#include <cstdint>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace trial;

namespace {

constexpr int no_filter = 77;

// The error that it ends with, 0 if it starts.
int error_of_start(kin::Process& child) {
  try {
    child.start();
  } catch (const kin::SystemError& error) {
    return error.code().value();
  }
  return 0;
}

std::vector<kin::UniqueFd> open_files(int count) {
  std::vector<kin::UniqueFd> files;
  for (int i = 0; i < count; ++i) files.emplace_back(::open("/dev/null", O_RDONLY));
  return files;
}

void expect_open(const std::vector<kin::UniqueFd>& files) {
  for (const auto& file : files) expect(::fcntl(file.get(), F_GETFD) != -1);
}

}  // namespace

TEST_SUITE("failing_start") {
  TEST_CASE_FIXTURE(Trial, "no descriptor left for start()") {
    CHECK(outcome([] {
            const auto do_nothing = [] {};
            // The undefined-behaviour sanitizer opens a pipe to look at a class for the first time.
            expect(outcome(do_nothing) == 0);
            try {
              throw kin::SystemError("a call", EMFILE);
            } catch (const kin::SystemError& error) {
              expect(error.code().value() == EMFILE);
            }
            kin::Process daemon({.daemon = true}, do_nothing);
            rlimit usual{};
            expect(::getrlimit(RLIMIT_NOFILE, &usual) == 0);
            int failures = 0;
            for (rlim_t room = 0; !daemon.is_alive() && !daemon.exit_code(); ++room) {
              const rlimit few{room, usual.rlim_max};
              expect(::setrlimit(RLIMIT_NOFILE, &few) == 0);
              const int error = error_of_start(daemon);
              expect(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
              if (error == 0) continue;
              expect(error == EMFILE);
              ++failures;
              // What the application opens next has nothing to do with the attempt.
              const auto files = open_files(6);
              expect(outcome([&] { expect_open(files); }) == 0);
            }
            expect(failures > 3);
            expect(end_of(daemon) == 0);
          }) == 0);
  }

  // Behind the fork, where there is a child already.
  TEST_CASE_FIXTURE(Trial, "no pidfd of the child") {
    const kin::Queue<int> never;
    const auto result = outcome([&] {
      const support::Argument another{0, static_cast<std::uint32_t>(::getpid()), true};
      if (!support::refuse_call(SYS_pidfd_open, another, EMFILE)) std::exit(no_filter);
      for (const bool is_daemon : {false, true}) {
        kin::Process child({.daemon = is_daemon}, [&] { never.put(1); });
        expect(error_of_start(child) == EMFILE);
        expect(!child.is_alive());
        expect(::waitpid(-1, nullptr, 0) == -1 && errno == ECHILD);
        const auto files = open_files(6);
        expect(outcome_of_plain_fork([&] { expect_open(files); }) == 0);
      }
    });
    if (result == no_filter) {
      std::puts(support::takes_no_filter);
      return;
    }
    CHECK(result == 0);
    CHECK(never.empty());
  }
}
