// SPDX-License-Identifier: BSL-1.0

#include "base/stdio.hpp"

#include "frame.hpp"

#include <csignal>
#include <string>

#include <fcntl.h>
#include <unistd.h>

using kin::UniqueFd;
using kin::detail::away_from_stdio;
using kin::detail::print_to_stderr;

namespace {

UniqueFd open_something() { return UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)); }

}  // namespace

TEST_SUITE("stdio") {
  TEST_CASE_FIXTURE(unit::Frame, "a descriptor above those of stdio stays where it is") {
    UniqueFd fd = open_something();
    const int number = fd.get();
    CHECK(away_from_stdio(std::move(fd)).get() == number);
  }

  TEST_CASE_FIXTURE(unit::Frame, "one with a number of stdio's moves, and leaves that closed") {
    CHECK(unit::answer_of([] {
            for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) ::close(number);
            for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
              const UniqueFd fd = away_from_stdio(open_something());
              if (fd.get() <= STDERR_FILENO) return "not moved";
              if (::fcntl(fd.get(), F_GETFD) != FD_CLOEXEC) return "not close-on-exec";
              if (::fcntl(STDIN_FILENO, F_GETFD) != -1) return "left open";
            }
            return "moved";
          }) == "moved");
  }

  TEST_CASE_FIXTURE(unit::Frame, "a line is written whole, also where the pipe is small") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    ::fcntl(writing.get(), F_SETPIPE_SZ, 4096);
    const std::string line(20'000, 'x');
    unit::Relative child([&] {
      ::dup2(writing.get(), STDERR_FILENO);
      print_to_stderr(line);
      return "written";
    });
    writing.reset();
    std::string text;
    std::string part(1000, '\0');
    while (text.size() < line.size()) {
      const auto length = ::read(reading.get(), part.data(), part.size());
      if (length <= 0) break;
      text.append(part, 0, static_cast<std::size_t>(length));
    }
    CHECK(text == line);
    CHECK(child.answer() == "written");
  }

  TEST_CASE_FIXTURE(unit::Frame, "where nobody reads there is no signal, and none is swallowed") {
    CHECK(unit::answer_of([] {
            int ends[2];
            if (::pipe(ends) != 0) return "no pipe";
            ::dup2(ends[1], STDERR_FILENO);
            ::close(ends[0]);
            ::close(ends[1]);
            print_to_stderr("lost\n");
            sigset_t pipe_signal;
            sigemptyset(&pipe_signal);
            sigaddset(&pipe_signal, SIGPIPE);
            ::pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
            ::raise(SIGPIPE);  // the application's own
            print_to_stderr("lost\n");
            sigset_t pending;
            ::sigpending(&pending);
            return sigismember(&pending, SIGPIPE) == 1 ? "as it was" : "swallowed";
          }) == "as it was");
    CHECK(unit::answer_of([] {
            ::close(STDERR_FILENO);
            print_to_stderr("lost\n");
            return "alive";
          }) == "alive");
  }
}
