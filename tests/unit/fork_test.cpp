// SPDX-License-Identifier: BSL-1.0

#include "os/fork.hpp"

#include "base/signal_mask.hpp"
#include "base/thread_id.hpp"
#include "os/child.hpp"

#include "frame.hpp"
#include "support/sanitizer.hpp"

#include <kin/log.hpp>
#include <kin/queue.hpp>
#include <kin/sync.hpp>
#include <kin/unique_fd.hpp>

#include <array>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using kin::detail::Forked;

namespace {

// Waits for a child of fork_process(), its exit status.
int end_of(const Forked& forked) {
  int status = -1;
  CHECK(::waitpid(forked.pid, &status, 0) == forked.pid);
  kin::detail::sweep(forked.stamp);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

template <typename Body>
int outcome(Body body) {
  const Forked forked = kin::detail::fork_process();
  if (forked.pid == 0) ::_exit(body());
  return end_of(forked);
}

std::string all_of(const kin::UniqueFd& pipe) {
  std::string text(1000, '\0');
  const auto length = ::read(pipe.get(), text.data(), text.size());
  text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return text;
}

}  // namespace

TEST_SUITE("fork") {
  TEST_CASE_FIXTURE(unit::Frame,
                    "the parent learns the child's pid and stamp before the child runs") {
    const crash::SharedPage<kin::detail::Stamp> stamp;
    const Forked forked = kin::detail::fork_process();
    if (forked.pid == 0) {
      *stamp = kin::detail::this_process_or_none();
      ::_exit(0);
    }
    CHECK(forked.pid > 0);
    CHECK(forked.stamp != kin::detail::this_process());
    CHECK(end_of(forked) == 0);
    CHECK(*stamp == forked.stamp);
  }

  TEST_CASE_FIXTURE(unit::Frame, "what waits in the streams is written once, by the parent") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const kin::UniqueFd reading(ends[0]);
    kin::UniqueFd writing(ends[1]);
    unit::Relative parent([&] {
      ::dup2(writing.get(), STDOUT_FILENO);
      std::setvbuf(stdout, nullptr, _IOFBF, BUFSIZ);
      std::printf("printf ");
      std::cout << "cout ";
      const int code = outcome([] {
        kin::detail::flush_streams();
        return 0;
      });
      std::printf("end");
      kin::detail::flush_streams();
      return std::to_string(code);
    });
    writing.reset();
    CHECK(parent.answer() == "0");
    CHECK(all_of(reading) == "printf cout end");
  }

  TEST_CASE_FIXTURE(unit::Frame, "a thread that reads stdin keeps nobody from forking") {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    // In a child, whose stdin it is.
    unit::Relative child([&] {
      ::dup2(ends[0], STDIN_FILENO);
      std::thread reading([] { std::getchar(); });
      const bool is_read = unit::eventually([] {
        if (::ftrylockfile(stdin) != 0) return true;
        ::funlockfile(stdin);
        return false;
      });
      const bool forks = outcome([] { return 7; }) == 7;
      const bool is_told = ::write(ends[1], "x", 1) == 1;
      reading.join();
      return is_read && forks && is_told ? "forked" : "not as expected";
    });
    CHECK(child.answer() == "forked");
    for (const int fd : ends) ::close(fd);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child of plain fork is one of the family at once") {
    const kin::Queue<std::string> queue;
    const kin::Lock lock;
    const pid_t pid = ::fork();
    if (pid == 0) {
      const bool own = kin::detail::this_process_or_none() != 0;
      lock.lock();
      queue.put(own ? "own" : "none");
      lock.unlock();
      ::_exit(0);
    }
    CHECK(queue.get_for(unit::patience) == "own");
    int status = -1;
    ::waitpid(pid, &status, 0);
    CHECK(status == 0);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child forgets what was its parent's alone") {
    auto child = [] {
      const Forked forked = kin::detail::fork_process();
      if (forked.pid == 0) {
        while (true) ::pause();
      }
      return kin::detail::add_child(
          {forked.pid, forked.stamp, "child", false, kin::detail::Child::Kind::child},
          kin::detail::open_pidfd(forked.pid));
    }();
    const int pidfd = child->descriptor();
    CHECK(outcome([&] {
            if (!kin::detail::living_children().empty()) return 1;
            if (kin::detail::thread_id() != ::gettid()) return 2;
            if (::fcntl(pidfd, F_GETFD) != -1) return 3;
            try {
              static_cast<void>(child->is_alive());
              return 4;
            } catch (const std::logic_error&) {
              return 0;
            }
          }) == 0);
    child->terminate_and_join();
    CHECK_FALSE(child->is_alive());
  }

  TEST_CASE_FIXTURE(unit::Frame, "children of a process with busy threads find kin's locks free") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    kin::set_log_sink([](kin::LogLevel, std::string_view) {});
    std::atomic<bool> enough = false;
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (!enough) {
          kin::log(kin::LogLevel::error, "busy");
          const kin::Queue<int> queue;
          queue.put(1);
          static_cast<void>(kin::detail::living_children());
        }
      });
    }
    for (int i = 0; i < 20; ++i) {
      CHECK(outcome([] {
              kin::log(kin::LogLevel::error, "free");
              const kin::Queue<int> queue;
              queue.put(5);
              return kin::detail::living_children().empty() ? queue.get() : 0;
            }) == 5);
    }
    enough = true;
    for (auto& thread : threads) thread.join();
    kin::set_log_sink({});
  }

  TEST_CASE_FIXTURE(unit::Frame, "generations do not add up: descriptors, slots and births") {
    const auto descend = [](auto& self, int generation) -> int {
      const int before = support::open_descriptors();
      if (generation == 0) return before;
      return outcome([&] { return self(self, generation - 1); });
    };
    CHECK(descend(descend, 5) == descend(descend, 1));
  }
}
