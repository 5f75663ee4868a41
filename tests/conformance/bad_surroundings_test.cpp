// SPDX-License-Identifier: BSL-1.0
//
// Broken surroundings and other code's doings: each has the documented outcome, and nothing that was
// delivered before is lost.
//
// An exit code that only the child itself left, where the kernel does not tell (before 6.15), can't
// be told from the kernel's here.
//
// Fails when:
//   away_from_stdio() returns its argument: both cases of the parent's streams
//   print_to_stderr() does without PipeSignalHeld: "a child's streams can't be written"
//   print_uncaught() calls std::cout.flush(): "an exception out of a child's function …"
//   Child::reap() has no code where another reaped: "a child that the application reaped itself"
//   live() does not wait_until_open(): "a thread of the application reaps whatever ends", some of its starts
//   start() flushes behind SignalsBlocked alone: "stdout is a broken pipe …"

#include "plain_fork.hpp"
#include "trial.hpp"

#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <array>
#include <atomic>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>

#include <csignal>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trial;

namespace {

// Makes `fd` what `target` is, or closes it.
void replace_stream(int fd, const char* target) {
  if (target == nullptr) {
    ::close(fd);
    return;
  }
  const kin::UniqueFd opened(::open(target, O_WRONLY | O_CLOEXEC));
  expect(::dup2(opened.get(), fd) == fd);
}

// Makes `fd` a pipe that nobody reads.
void replace_by_broken_pipe(int fd) {
  std::array<int, 2> ends{};
  expect(::pipe2(ends.data(), O_CLOEXEC) == 0);
  expect(::dup2(ends[1], fd) == fd);
  ::close(ends[0]);
  ::close(ends[1]);
}

struct OfTheUser {
  int number;
};

struct CannotSay : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return ""; }
};

// A child waits in `wait` while it is hit by signals, whenever it is asleep. Then `release` lets it
// go on.
void interrupt_while(const std::function<void()>& wait, const std::function<void()>& release) {
  struct Seen {
    std::atomic<bool> about_to_wait;
    std::atomic<int> signals;
    std::atomic<int> signals_before_end;
  };
  const crash::SharedPage<Seen> seen;
  static Seen* counted = nullptr;
  counted = &*seen;
  kin::Process child([&] {
    struct sigaction count {};
    count.sa_handler = [](int) { counted->signals.fetch_add(1); };  // without SA_RESTART
    expect(::sigaction(SIGUSR1, &count, nullptr) == 0);
    counted->about_to_wait = true;
    wait();
    counted->signals_before_end = counted->signals.load();
  });
  child.start();
  CHECK(eventually([&] { return counted->about_to_wait.load(); }));
  for (int hits = 1; hits <= 5; ++hits) {
    CHECK(eventually([&] { return crash::process_state(child.pid()) == 'S'; }));
    CHECK(::kill(child.pid(), SIGUSR1) == 0);
    CHECK(eventually([&] { return counted->signals >= hits; }));
  }
  CHECK(child.is_alive());
  release();
  CHECK(end_of(child) == 0);
  CHECK(counted->signals_before_end == 5);
}

}  // namespace

TEST_SUITE("bad_surroundings") {
  TEST_CASE_FIXTURE(Trial, "an exception out of a child's function is exit code 1") {
    const kin::Queue<int> before;
    const auto outcome_of_throwing = [before](const auto& thrown) {
      return outcome([&] {
        replace_stream(STDERR_FILENO, "/dev/null");
        before.put(1);
        throw thrown;
      });
    };
    CHECK(outcome_of_throwing(std::runtime_error("why")) == 1);
    CHECK(outcome_of_throwing(kin::SerializationError("why")) == 1);
    CHECK(outcome_of_throwing(5) == 1);
    CHECK(outcome_of_throwing(std::string("why")) == 1);
    CHECK(outcome_of_throwing(static_cast<const char*>("why")) == 1);
    CHECK(outcome_of_throwing(OfTheUser{1}) == 1);
    CHECK(outcome_of_throwing(CannotSay()) == 1);
    CHECK(outcome_of_throwing(std::make_shared<int>(1)) == 1);
    CHECK(before.size() == 8);
    // Also with a stream that throws when what was printed before can't be written.
    CHECK(outcome([] {
            replace_stream(STDERR_FILENO, "/dev/null");
            replace_stream(STDOUT_FILENO, "/dev/full");
            std::cout << "never seen";
            std::cout.exceptions(std::ios::badbit | std::ios::failbit);
            throw std::runtime_error("why");
          }) == 1);
  }

  TEST_CASE_FIXTURE(Trial, "the parent's streams can't be written") {
    const auto all_works = [](const std::function<void(int)>& spoil) {
      return outcome([&] {
        spoil(STDOUT_FILENO);
        spoil(STDERR_FILENO);
        kin::log(kin::LogLevel::error, "never seen");
        const kin::Queue<int> queue;
        const kin::Queue<bool> go_on;
        kin::Process daemon({.daemon = true}, [=] {
          queue.put(1);
          expect(go_on.get_for(patience) == true);
        });
        daemon.start();
        expect(queue.get_for(patience) == 1);
        // What the parent prints does not go where kin keeps its own.
        for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
          expect(::write(fd, "never seen", 10) == -1);
        }
        expect(daemon.is_alive());
        go_on.put(true);
        expect(end_of(daemon) == 0);
      });
    };
    CHECK(all_works([](int fd) { replace_stream(fd, nullptr); }) == 0);
    CHECK(all_works([](int fd) { replace_stream(fd, "/dev/full"); }) == 0);
    CHECK(all_works([](int fd) {
            ::signal(SIGPIPE, SIG_IGN);
            replace_by_broken_pipe(fd);
          }) == 0);
  }

  // A whole program, from its first moment: this one, with other cases.
  TEST_CASE_FIXTURE(Trial, "standard streams closed from the start") {
    const pid_t pid = ::fork();
    if (pid == 0) {
      // Not stdin: so the first descriptor that is opened gets the number of stdout.
      for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
      ::execl("/proc/self/exe", "conformance_tests", "--test-suite=queue,start_method",
              static_cast<char*>(nullptr));
      ::_exit(127);
    }
    int status = -1;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
  }

  TEST_CASE_FIXTURE(Trial, "a child's streams can't be written") {
    const kin::Queue<int> delivered;
    const auto outcome_with = [&](const std::function<void(int)>& spoil, bool throws) {
      return outcome([&] {
        spoil(STDERR_FILENO);
        delivered.put(1);
        kin::log(kin::LogLevel::error, "never seen");
        delivered.put(2);
        if (throws) throw std::runtime_error("never seen");
      });
    };
    const std::array<std::function<void(int)>, 3> ways{
        [](int fd) { replace_stream(fd, nullptr); },
        [](int fd) { replace_stream(fd, "/dev/full"); }, replace_by_broken_pipe};
    for (const auto& spoil : ways) {
      CHECK(outcome_with(spoil, false) == 0);
      CHECK(outcome_with(spoil, true) == 1);
    }
    CHECK(delivered.size() == 12);
  }

  // As in `program | head`. What a flush of start() or at the end of a child does to a process is what a
  // flush of its own would do.
  TEST_CASE_FIXTURE(Trial, "stdout is a broken pipe, and SIGPIPE is as the system has it") {
    const kin::Queue<int> delivered;
    const auto outcome_with = [&](bool prints, auto on_sigpipe, const std::function<void()>& body) {
      return outcome([&] {
        ::signal(SIGPIPE, on_sigpipe);
        replace_by_broken_pipe(STDOUT_FILENO);
        replace_stream(STDERR_FILENO, "/dev/null");
        if (prints) std::fputs("never seen", stdout);
        delivered.put(1);
        body();
        delivered.put(2);
      });
    };
    const auto start_a_child = [&] { expect(outcome([&] { delivered.put(3); }) == 0); };
    const auto what_was_delivered = [&] {
      std::vector<int> all;
      while (const auto one = delivered.try_get()) all.push_back(*one);
      return all;
    };
    // Who has nothing to print does not notice.
    CHECK(outcome_with(false, SIG_DFL, start_a_child) == 0);
    CHECK(what_was_delivered() == std::vector{1, 3, 2});
    // A parent dies in start(), before there is a child.
    CHECK(outcome_with(true, SIG_DFL, start_a_child) == -SIGPIPE);
    CHECK(what_was_delivered() == std::vector{1});
    // A child dies at its end, when its function has returned or thrown.
    CHECK(outcome_with(true, SIG_DFL, [] {}) == -SIGPIPE);
    CHECK(what_was_delivered() == std::vector{1, 2});
    CHECK(outcome_with(true, SIG_DFL, [] { throw std::runtime_error("why"); }) == -SIGPIPE);
    CHECK(what_was_delivered() == std::vector{1});
    // Where the signal is ignored the text is lost, and that is all.
    CHECK(outcome_with(true, SIG_IGN, start_a_child) == 0);
    CHECK(what_was_delivered() == std::vector{1, 3, 2});
    CHECK(outcome_with(true, SIG_IGN, [] { throw std::runtime_error("why"); }) == 1);
    CHECK(what_was_delivered() == std::vector{1});
  }

  TEST_CASE_FIXTURE(Trial, "a child that the application reaped itself") {
    const auto reaped = [](const std::function<void()>& body) {
      kin::Process child(body);
      child.start();
      int status = -1;
      REQUIRE(::waitpid(child.pid(), &status, 0) == child.pid());
      CHECK_FALSE(child.is_alive());
      CHECK(child.join_for(0s));
      child.join();
      child.terminate();
      return child.exit_code();
    };
    const kin::Queue<int> delivered;
    CHECK(reaped([&] { delivered.put(1); }) == 0);
    CHECK(delivered.try_get() == 1);
    CHECK(reaped([] { std::exit(7); }) == 7);
    CHECK(reaped([] { std::exit(300); }) == 300 % 256);
    CHECK(reaped([] {
            replace_stream(STDERR_FILENO, "/dev/null");
            throw 1;
          }) == 1);
    // Who was killed left no code; only the kernel can tell, from 6.15 on.
    CHECK(reaped([] { ::raise(SIGKILL); }).value_or(-SIGKILL) == -SIGKILL);
    // And where the kernel is told to reap them all.
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    struct sigaction before {};
    REQUIRE(::sigaction(SIGCHLD, &ignore, &before) == 0);
    // Often, as the child may be gone before start() has returned.
    for (int i = 0; i < 200; ++i) CHECK(outcome([] {}) == 0);
    CHECK(outcome([] { std::exit(7); }) == 7);
    REQUIRE(::sigaction(SIGCHLD, &before, nullptr) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "a thread of the application reaps whatever ends") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    std::jthread reaper([](const std::stop_token& stop) {
      while (!stop.stop_requested()) ::waitpid(-1, nullptr, WNOHANG);
    });
    for (int i = 0; i < 300; ++i) CHECK(outcome([] { std::exit(7); }) == 7);
    const kin::Queue<int> delivered;
    for (int i = 0; i < 100; ++i)
      CHECK(outcome(kin::ProcessOptions{.daemon = true}, [&, i] { delivered.put(i); }) == 0);
    CHECK(delivered.size() == 100);
  }

  TEST_CASE_FIXTURE(Trial, "a signal during a wait") {
    const kin::JoinableQueue<int> queue(1);
    interrupt_while(
        [&] {
          expect(queue.get_for(patience) == 1);
          queue.task_done();
        },
        [&] { queue.put(1); });

    queue.put(2);
    interrupt_while([&] { expect(queue.put_for(3, patience)); },
                    [&] { CHECK(queue.try_get() == 2); });

    queue.task_done();
    CHECK(queue.try_get() == 3);
    interrupt_while([&] { expect(queue.join_for(patience)); }, [&] { queue.task_done(); });

    const kin::Lock lock;
    lock.lock();
    interrupt_while([&] { expect(lock.try_lock_for(patience)); }, [&] { lock.unlock(); });

    const kin::Queue<bool> go_on;
    interrupt_while([&] { expect(outcome([&] { expect(go_on.get_for(patience) == true); }) == 0); },
                    [&] { go_on.put(true); });
  }

  TEST_CASE_FIXTURE(Trial, "a fork by other code") {
    const kin::Queue<std::string> inherited;
    const kin::Queue<kin::Queue<int>> sent;
    const kin::Lock lock;
    inherited.put("before");
    {
      const std::scoped_lock guard(lock);
      CHECK(outcome_of_plain_fork([&] {
              expect(lock.locked());
              expect(!lock.try_lock());
              expect(!kin::parent_process());
              expect(kin::active_children().empty());
            }) == 0);
    }
    CHECK(outcome_of_plain_fork([&] {
            expect(inherited.get_for(patience) == "before");
            const std::scoped_lock guard(lock);
            expect(lock.owner()->pid == ::getpid());
            const kin::Queue<int> own;
            own.put(42);
            sent.put(own);
            inherited.put("after");
            // It may have children of its own.
            expect(outcome([&] { own.put(43); }) == 0);
          }) == 0);
    CHECK_FALSE(lock.locked());
    CHECK(inherited.try_get() == "after");
    const auto arrived = sent.get_for(patience);
    REQUIRE(arrived);
    CHECK(arrived->try_get() == 42);
    CHECK(arrived->try_get() == 43);
  }
}
