// SPDX-License-Identifier: BSL-1.0
//
// Misuse, broken surroundings and other code's doings: each has the documented outcome, and nothing
// that was delivered before is lost. That is one promise, so it is one file, however long.
//
// An exit code that only the child itself left, where the kernel does not tell (before 6.15), can't
// be told from the kernel's here.
//
// Fails when:
//   away_from_stdio() returns its argument: both cases of the parent's streams
//   print_to_stderr() does without PipeSignalHeld: "a child's streams can't be written"
//   print_uncaught() calls std::cout.flush(): "an exception out of a child's function …"
//   new_channel() does not look for a negative size: "a negative size is an invalid argument"
//   Channel::get_plain() does not compare sizes: "a damaged record is told …"
//   Process::start() does not ask whether it was started: "a process is started once"
//   Child::reap() has no code where another reaped: "a child that the application reaped itself"
//   LifeLine's destructor does not cut(): "no descriptor left for start()"

#include "trial.hpp"

#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <array>
#include <atomic>
#include <cstring>
#include <iostream>
#include <limits>
#include <memory>
#include <mutex>
#include <span>

#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trial;

namespace {

void sleep_for_ever() {
  while (true) ::pause();
}

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

// The exit code of a process that is forked without kin; it ends with the body, 1 if that throws.
std::optional<int> outcome_of_plain_fork(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    int code = 0;
    try {
      body();
    } catch (const std::exception& error) {
      std::cerr << error.what() << std::endl;
      code = 1;
    }
    ::_exit(code);
  }
  int status = 0;
  if (!eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; })) ::kill(pid, SIGKILL);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return std::nullopt;
}

struct OfTheUser {
  int number;
};

struct CannotSay : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return ""; }
};

// A queue into which anything can be put.
template <typename T>
class Damaged : public kin::Queue<T> {
 public:
  using kin::Queue<T>::Queue;
  void put_bytes(const std::string& text) const {
    expect(
        this->channel().put(std::as_bytes(std::span(text)), {}, kin::detail::Deadline::passed()));
  }
  // A message as it is for another type.
  template <typename Other>
  void put_message_of(const Other& value) const {
    kin::detail::OutArchive out;
    kin::detail::encode(out, value);
    expect(this->channel().put(out.bytes(), out.cargo(), kin::detail::Deadline::passed()));
  }
};

template <typename T>
void expect_damage_is_told(const T& good, const std::function<void(const Damaged<T>&)>& put_bad) {
  const Damaged<T> queue(3);
  queue.put(good);
  put_bad(queue);
  queue.put(good);
  CHECK(queue.full());
  CHECK(queue.try_get() == good);
  CHECK_THROWS_AS(static_cast<void>(queue.try_get()), kin::SerializationError);
  CHECK(queue.size() == 1);
  CHECK(queue.get_for(patience) == good);
  CHECK(queue.empty());
}

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

TEST_SUITE("bad_input") {
  TEST_CASE_FIXTURE(Trial, "a negative duration means zero") {
    const kin::JoinableQueue<int> queue(1);
    const kin::Lock lock;
    const auto all_give_up = [&](auto limit) {
      CHECK_FALSE(queue.put_for(2, limit));
      CHECK_FALSE(queue.join_for(limit));
      CHECK_FALSE(kin::Queue<int>().get_for(limit));
      CHECK_FALSE(kin::Queue<std::string>().get_for(limit));
      CHECK(outcome([=] { expect(!lock.try_lock_for(limit)); }) == 0);
    };
    queue.put(1);
    const std::scoped_lock guard(lock);
    all_give_up(-1ms);
    all_give_up(std::chrono::hours::min());
    all_give_up(std::chrono::nanoseconds::min());
    all_give_up(std::chrono::duration<double>(-std::numeric_limits<double>::infinity()));
    all_give_up(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()));
    CHECK(outcome([=] {
            expect(!lock.try_lock_until(std::chrono::steady_clock::time_point::min()));
            expect(!lock.try_lock_until(std::chrono::system_clock::time_point()));
          }) == 0);
    kin::Process child(sleep_for_ever);
    child.start();
    CHECK_FALSE(child.join_for(-1ms));
    CHECK_FALSE(child.join_for(std::chrono::hours::min()));
    CHECK_FALSE(child.handle().join_for(-1ms));
    child.kill();
    CHECK(end_of(child) == -SIGKILL);
    CHECK(queue.get_for(std::chrono::hours::max()) ==
          1);  // and one too long to count means for ever
  }

  TEST_CASE_FIXTURE(Trial, "a negative size is an invalid argument") {
    CHECK_THROWS_AS(kin::Queue<int>(-1), std::invalid_argument);
    CHECK_THROWS_AS(kin::Queue<std::string>(std::numeric_limits<std::ptrdiff_t>::min()),
                    std::invalid_argument);
    CHECK_THROWS_AS(kin::JoinableQueue<int>(-5), std::invalid_argument);
    const kin::Queue<int> largest(std::numeric_limits<std::ptrdiff_t>::max());
    CHECK(largest.try_put(1));
    CHECK_FALSE(largest.full());
  }

  TEST_CASE_FIXTURE(Trial, "a process is started once") {
    const kin::Queue<int> runs;
    const kin::Queue<bool> go_on;
    kin::Process child([=] {
      runs.put(1);
      expect(go_on.get_for(patience) == true);
    });
    child.start();
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK(child.is_alive());
    go_on.put(true);
    CHECK(end_of(child) == 0);
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK(child.exit_code() == 0);
    CHECK(runs.size() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "a process belongs to the process that made it") {
    const kin::Queue<int> runs;
    kin::Process fresh([runs] { runs.put(1); });
    kin::Process running(sleep_for_ever);
    running.start();
    const auto try_from_elsewhere = [&] {
      const auto refused = [](const auto& call) {
        try {
          call();
        } catch (const std::logic_error&) {
          return true;
        }
        return false;
      };
      expect(refused([&] { fresh.start(); }));
      expect(refused([&] { running.start(); }));
      expect(refused([&] { running.join(); }));
      expect(refused([&] { running.kill(); }));
      expect(refused([&] { static_cast<void>(running.sentinel()); }));
      const kin::Process copy = std::move(running);  // its end must not end the original
    };
    CHECK(outcome(try_from_elsewhere) == 0);
    CHECK(outcome_of_plain_fork(try_from_elsewhere) == 0);
    CHECK(running.is_alive());
    running.terminate();
    CHECK(end_of(running) == -SIGTERM);
    fresh.start();
    CHECK(end_of(fresh) == 0);
    CHECK(runs.size() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "what was closed or moved from is not used") {
    kin::Process child([] {});
    child.start();
    CHECK(end_of(child) == 0);
    const kin::ProcessHandle handle = child.handle();
    child.close();
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(child.exit_code()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(child.handle()), std::logic_error);
    CHECK(handle.exit_code() == 0);
    CHECK_FALSE(handle.is_alive());
    kin::Process moved = std::move(child);
    CHECK_THROWS_AS(child.start(), std::logic_error);  // NOLINT(bugprone-use-after-move)
    CHECK_THROWS_AS(child.close(), std::logic_error);

    const kin::JoinableQueue<int> queue;
    const kin::JoinableQueue<int> copy = queue;
    CHECK(outcome([queue] {
            queue.put(1);
            queue.close();
          }) == 0);
    CHECK(queue.try_get() == 1);
    queue.close();
    CHECK_THROWS_AS(copy.put(1), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(copy.get()), std::logic_error);
    CHECK_THROWS_AS(copy.task_done(), std::logic_error);
    CHECK_THROWS_AS(copy.shutdown(), std::logic_error);
  }

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

  TEST_CASE_FIXTURE(Trial, "a damaged record is told, and costs itself only") {
    for (const auto* bad : {"", "a", "many more bytes than an int has"}) {
      expect_damage_is_told<int>(7, [bad](const auto& queue) { queue.put_bytes(bad); });
    }
    const auto as_text = [](std::uint64_t length) {
      std::string text(sizeof length, '\0');
      std::memcpy(text.data(), &length, sizeof length);
      return text;
    };
    for (const std::string& bad :
         {std::string(), std::string("abc"), as_text(1), as_text(std::uint64_t{1} << 62),
          as_text(std::numeric_limits<std::uint64_t>::max()), as_text(1) + "ab"}) {
      expect_damage_is_told<std::string>("good", [&](const auto& queue) { queue.put_bytes(bad); });
      expect_damage_is_told<std::vector<std::string>>(
          {"good", "too"}, [&](const auto& queue) { queue.put_bytes(bad); });
    }
    const kin::Queue<int> good;
    good.put(42);
    expect_damage_is_told<kin::Queue<int>>(good, [](const auto& queue) { queue.put_bytes(""); });
    expect_damage_is_told<kin::Queue<int>>(good, [](const auto& queue) { queue.put_bytes("abc"); });
    expect_damage_is_told<kin::Queue<int>>(
        good, [](const auto& queue) { queue.put_message_of(kin::Lock()); });
    expect_damage_is_told<kin::Lock>(kin::Lock(),
                                     [&](const auto& queue) { queue.put_message_of(good); });
    expect_damage_is_told<int>(7, [&](const auto& queue) { queue.put_message_of(good); });
    CHECK(good.try_get() == 42);
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
              bool failed = false;
              try {
                daemon.start();
              } catch (const kin::SystemError& error) {
                expect(error.code().value() == EMFILE);
                failed = true;
                ++failures;
              }
              expect(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
              if (!failed) continue;
              // What the application opens next has nothing to do with the attempt.
              std::vector<kin::UniqueFd> files;
              for (int i = 0; i < 3; ++i) files.emplace_back(::open("/dev/null", O_RDONLY));
              expect(outcome([&] {
                       for (const auto& file : files) expect(::fcntl(file.get(), F_GETFD) != -1);
                     }) == 0);
            }
            expect(failures > 3);
            expect(end_of(daemon) == 0);
          }) == 0);
  }
}
