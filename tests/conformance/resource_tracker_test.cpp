// SPDX-License-Identifier: BSL-1.0
//
// That nothing is left behind, against CPython's TestResourceTracker. There a process of its own keeps a
// list of names, and unlinks what their owners leave. Here only a SharedMemory has a name, and a tracker: see
// shared_memory_test. What all have dropped or died with of everything else is gone, without one. What its
// cases are about is seen here as follows.
//
//   test_resource_tracker: what a killed process made is free again, and was never anywhere but in memory
//   test_resource_tracker_sigint, _sigterm, _sigkill, _reused, _mp_fork_reuse_and_prompt_reap: there is
//     no process to hit or to share, see test_resource_tracker_reused; that of SharedMemory is hit in
//     tests/unit, where it can be found
//   test_too_long_name_resource: there are no names; a SharedMemory may have any that a file may have
//   test_resource_tracker_exit_code: nobody counts leaks, as none is possible
//   test_resource_tracker_fork_deadlock, _raw_fork_prompt_reap, _safety_net_timeout: a forked child that
//     kin never heard of, and all that it has open, keep nobody from ending
//
// Fails when:
//   drop_claims_of() drops none: test_resource_tracker
//   start() leaves signals blocked in the child: test_resource_tracker_blocked_signals

#include "trial.hpp"

#include "support/bystander.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>

#include <csignal>
#include <sys/stat.h>
#include <unistd.h>

using namespace trial;

namespace {

// One of everything that meets in shared memory, in use.
class Everything {
 public:
  Everything() {
    lock_.lock();
    recursive_.lock();
    semaphore_.acquire();
    bounded_.acquire();
    event_.set();
    expect(!condition_.wait_for(lock_, 0s));
    expect(alone_.wait() == 0);
    value_.store(1);
    queue_.put(std::string(100'000, 'x'));
    pipe_.writer.send(1);
  }
  void let_go() const {
    recursive_.unlock();
    lock_.unlock();
  }

 private:
  kin::Lock lock_;
  kin::RLock recursive_;
  kin::Semaphore semaphore_;
  kin::BoundedSemaphore bounded_;
  kin::Condition condition_;
  kin::Event event_;
  kin::Barrier alone_{1};
  kin::Barrier large_{1 << 17};  // 2 MiB
  kin::Value<int> value_;
  kin::Queue<std::string> queue_;
  kin::SimplexPipe<int> pipe_;
};

// Blocks of 512 bytes that the memory behind this process's shared mapping takes.
long shared_blocks() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    struct stat about {};
    if (target.starts_with("/memfd:kin") && ::stat(entry.path().c_str(), &about) == 0) {
      return about.st_blocks;
    }
  }
  throw std::runtime_error("no memfd of kin's");
}

// Files with names that this process has mapped as shared, or has open for writing below /dev/shm.
std::vector<std::string> shared_names() {
  std::vector<std::string> names;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto path = line.find('/');
    const bool is_shared = line.find("s ") == line.find(' ') + 4;
    if (is_shared && path != std::string::npos && line.find("(deleted)") == std::string::npos) {
      names.push_back(line.substr(path));
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (target.starts_with("/dev/shm/")) names.push_back(target);
  }
  return names;
}

std::size_t threads() {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
}

// Holds all of it when it is killed.
void make_everything_and_die() {
  const kin::Event ready;
  kin::Process child([ready] {
    const Everything everything;
    ready.set();
    while (true) ::pause();
  });
  child.start();
  CHECK(ready.wait_for(patience));
  child.kill();
  CHECK(end_of(child) == -SIGKILL);
}

}  // namespace

TEST_SUITE("resource_tracker") {
  TEST_CASE_FIXTURE(Trial, "test_resource_tracker") {
    CHECK(outcome([] {
            const Everything everything;
            expect(shared_names().empty());
            everything.let_go();
          }) == 0);

    const long one_of_all = 2L * 1024 * 1024 / 512;
    for (int i = 0; i < 2; ++i) make_everything_and_die();
    const long before = shared_blocks();
    for (int i = 0; i < 10; ++i) make_everything_and_die();
    CHECK(shared_blocks() - before < one_of_all);
  }

  TEST_CASE_FIXTURE(Trial, "test_resource_tracker_reused") {
    const auto use = [] {
      const Everything everything;
      expect(crash::children_of_this_process().empty());
      expect(threads() == 1 || support::is_thread_sanitized);
      everything.let_go();
    };
    CHECK(outcome([use] {
            use();
            expect(outcome(use) == 0);
            expect(crash::children_of_this_process().empty());
          }) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_resource_tracker_blocked_signals") {
    sigset_t blocked{};
    sigset_t old{};
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    REQUIRE(::pthread_sigmask(SIG_BLOCK, &blocked, &old) == 0);
    const auto is_as_it_was = [] {
      sigset_t now{};
      ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
      for (int signal = 1; signal < NSIG; ++signal) {
        if ((sigismember(&now, signal) == 1) != (signal == SIGUSR1)) return false;
      }
      return true;
    };
    REQUIRE(is_as_it_was());
    {
      const Everything everything;
      CHECK(is_as_it_was());
      everything.let_go();
    }
    CHECK(outcome([=] {
            const Everything everything;
            expect(is_as_it_was());
            everything.let_go();
          }) == 0);
    CHECK(is_as_it_was());
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  TEST_CASE_FIXTURE(Trial, "test_resource_tracker_fork_deadlock") {
    const kin::Queue<pid_t> lingerers;
    CHECK(outcome([lingerers] {
            const Everything everything;
            const pid_t pid = ::fork();
            if (pid == 0) {
              ::alarm(120);  // should the case fail
              while (true) ::pause();
            }
            lingerers.put(pid);
            everything.let_go();
          }) == 0);
    // Its parent has ended, and was waited for, while it lives.
    const auto lingerer = lingerers.get_for(patience);
    REQUIRE(lingerer);
    CHECK(::kill(*lingerer, SIGKILL) == 0);
    CHECK(eventually([&] {
      const char state = crash::process_state(*lingerer);
      return state == '?' || state == 'Z';
    }));
  }

  TEST_CASE_FIXTURE(Trial, "test_resource_tracker_lock_reinit_after_fork") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    std::atomic<bool> enough = false;
    auto busy = std::async(std::launch::async, [&] {
      while (!enough) Everything().let_go();
    });
    for (int i = 0; i < 20; ++i) {
      CHECK(outcome([] { Everything().let_go(); }) == 0);
    }
    enough = true;
    REQUIRE(busy.wait_for(patience) == std::future_status::ready);
    busy.get();
  }
}
