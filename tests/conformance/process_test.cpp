// SPDX-License-Identifier: BSL-1.0
//
// Process, against CPython's _TestProcess.
//
// In T rows threads are not put in the place of processes, since std::thread is none of ours:
// several threads make, start and join processes at once.
//
// Fails when:
//   start() does not reset target_: test_lose_target_ref
//   after_fork_in_child() does not forget_thread_id(): test_process_mainthread_native_id
//   forget_children_of_parent() does not close a pidfd_: test_child_fd_inflation
//   ByteChannel's get() waits with Deadline::passed(): test_args_argument, test_process and others
//   authkey() makes a key of this_process() as well: test_process

#include "trial.hpp"

#include <cstdio>
#include <iostream>
#include <memory>
#include <tuple>

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace trial;

namespace {

std::string tested_name() { return kin::current_process().name(); }

// A child that does nothing until a signal ends it.
void sleep_for_ever() {
  while (true) ::pause();
}

bool is_ready(int fd, std::chrono::milliseconds limit) {
  pollfd about{fd, POLLIN, 0};
  return ::poll(&about, 1, static_cast<int>(limit.count())) == 1;
}

bool is_listed(const kin::Process& child) {
  for (const kin::ProcessHandle& each : kin::active_children()) {
    if (each.pid() == child.pid()) return true;
  }
  return false;
}

// A process by its kernel handle, also where it is not our child.
kin::UniqueFd watch(pid_t pid) {
  return kin::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace

TEST_SUITE("process") {
  // Python passes sequences; here it is each category of argument, and a tuple.
  TEST_CASE_FIXTURE(Trial, "test_args_argument") {
    on_threads_too([] {
      const kin::Queue<std::tuple<int, std::string, std::string, std::vector<int>>> echo;
      std::string named = "named";
      const std::vector<int> constant{1, 2, 3};
      kin::Process child(
          [echo](std::unique_ptr<int> owned, const std::string& text, std::string literal,
                 std::tuple<std::vector<int>> wrapped) {
            echo.put({*owned, text, std::move(literal), std::get<0>(wrapped)});
          },
          std::make_unique<int>(7), named, "literal", std::tuple(constant));
      child.start();
      const auto answer = echo.get_for(patience);
      REQUIRE(answer);
      CHECK(*answer == std::tuple(7, named, std::string("literal"), constant));
      CHECK(end_of(child) == 0);
    });
  }

  TEST_CASE_FIXTURE(Trial, "test_daemon_argument") {
    CHECK_FALSE(kin::Process([] {}).daemon());
    CHECK(kin::Process({.daemon = true}, [] {}).daemon());
    CHECK_FALSE(kin::Process({.daemon = false}, [] {}).daemon());
    for (const bool flag : {true, false}) {
      CHECK(outcome(kin::ProcessOptions{.daemon = flag}, [flag] {
              expect(kin::current_process().daemon() == flag);
              expect(kin::Process([] {}).daemon() == flag);
              expect(kin::Process({.daemon = true}, [] {}).daemon());
              expect(!kin::Process({.daemon = false}, [] {}).daemon());
            }) == 0);
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_parent_process_attributes") {
    CHECK_FALSE(kin::parent_process());
    const kin::Queue<std::pair<pid_t, std::string>> answers;
    const auto tell = [answers] {
      const auto parent = kin::parent_process();
      expect(parent.has_value());
      expect(parent->is_alive());
      expect(parent->pid() == ::getppid());
      answers.put({parent->pid(), parent->name()});
    };
    CHECK(outcome(kin::ProcessOptions{.name = "the child"}, [&] {
            tell();
            expect(outcome(tell) == 0);
          }) == 0);
    CHECK(answers.try_get() == std::pair(::getpid(), tested_name()));
    const auto of_grandchild = answers.try_get();
    REQUIRE(of_grandchild);
    CHECK(of_grandchild->second == "the child");
  }

  TEST_CASE_FIXTURE(Trial, "test_process") {
    on_threads_too([] {
      const kin::Queue<std::tuple<int, std::string, std::string, std::string, pid_t>> answers;
      const kin::Queue<bool> go_on;
      kin::Process child(
          {.name = "tested", .daemon = true},
          [=](int number, const std::string& text) {
            answers.put(
                {number, text, tested_name(), kin::authkey(), kin::current_process().pid()});
            expect(go_on.get_for(patience) == true);
          },
          1, "two");
      CHECK_FALSE(child.is_alive());
      CHECK_FALSE(child.exit_code());
      CHECK(child.daemon());
      CHECK(child.pid() == 0);
      CHECK_FALSE(is_listed(child));
      CHECK_THROWS_AS(child.join(), std::logic_error);

      child.start();
      CHECK(child.is_alive());
      CHECK_FALSE(child.exit_code());
      CHECK(is_listed(child));
      const auto answer = answers.get_for(patience);
      REQUIRE(answer);
      CHECK(*answer ==
            std::tuple(1, std::string("two"), std::string("tested"), kin::authkey(), child.pid()));
      CHECK(child.is_alive());

      go_on.put(true);
      CHECK(end_of(child) == 0);
      CHECK_FALSE(child.is_alive());
      CHECK_FALSE(is_listed(child));
      CHECK(child.exit_code() == 0);
    });
  }

  // What kin remembers of the thread's id is seen at a lock.
  TEST_CASE_FIXTURE(Trial, "test_process_mainthread_native_id") {
    const kin::Lock lock;
    const auto owner_while_locked = [lock] {
      const std::scoped_lock guard(lock);
      return lock.owner()->thread;
    };
    const pid_t own = owner_while_locked();
    CHECK(own == ::gettid());
    const kin::Queue<pid_t> answers;
    CHECK(outcome([=] {
            expect(owner_while_locked() == ::gettid());
            answers.put(::gettid());
          }) == 0);
    const auto other = answers.try_get();
    REQUIRE(other);
    CHECK(other != own);
  }

  // A signal throws nothing here: it ends the child, unless the child handles it.
  TEST_CASE_FIXTURE(Trial, "test_interrupt") {
    static volatile std::sig_atomic_t interrupted = 0;
    const kin::Queue<bool> ready;
    kin::Process child([ready] {
      struct sigaction handler {};
      handler.sa_handler = [](int) { interrupted = 1; };
      expect(::sigaction(SIGINT, &handler, nullptr) == 0);
      ready.put(true);
      expect(eventually([] { return interrupted == 1; }));
      std::exit(3);
    });
    child.start();
    CHECK(ready.get_for(patience) == true);
    CHECK_FALSE(child.join_for(0s));
    CHECK_FALSE(child.join_for(-1s));
    CHECK(child.is_alive());
    child.interrupt();
    CHECK(end_of(child) == 3);
    CHECK(child.join_for(0s));
    CHECK(child.join_for(-1s));
    child.join();
  }

  TEST_CASE_FIXTURE(Trial, "test_interrupt_no_handler") {
    kin::Process child(sleep_for_ever);
    child.start();
    child.interrupt();
    CHECK(end_of(child) == -SIGINT);
  }

  TEST_CASE_FIXTURE(Trial, "test_terminate") {
    kin::Process child(sleep_for_ever);
    child.start();
    child.terminate();
    CHECK(end_of(child) == -SIGTERM);
    child.terminate();  // nothing happens
  }

  TEST_CASE_FIXTURE(Trial, "test_kill") {
    kin::Process child(sleep_for_ever);
    child.start();
    CHECK(child.is_alive());
    child.kill();
    CHECK(end_of(child) == -SIGKILL);
    CHECK_FALSE(child.is_alive());
    CHECK(child.join_for(0s));
    child.kill();
  }

  TEST_CASE_FIXTURE(Trial, "test_cpu_count") {
    on_threads_too([] { CHECK(kin::cpu_count() >= 1); });
    cpu_set_t allowed;
    REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    CHECK(kin::cpu_count() <= CPU_COUNT(&allowed));
    // Fewer where the affinity is narrower.
    cpu_set_t some;
    CPU_ZERO(&some);
    for (std::size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&some) < std::min(2, kin::cpu_count());
         ++i) {
      if (!CPU_ISSET(i, &allowed)) continue;
      CPU_SET(i, &some);
      CHECK(outcome([&some] {
              expect(::sched_setaffinity(0, sizeof some, &some) == 0);
              std::exit(kin::cpu_count());
            }) == CPU_COUNT(&some));
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_active_children") {
    on_threads_too([] {
      const kin::Queue<bool> go_on;
      kin::Process child([go_on] { expect(go_on.get_for(patience) == true); });
      CHECK_FALSE(is_listed(child));
      child.start();
      CHECK(is_listed(child));
      go_on.put(true);
      CHECK(end_of(child) == 0);
      CHECK_FALSE(is_listed(child));
    });
    CHECK(kin::active_children().empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_recursion") {
    on_threads_too([] {
      using Id = std::vector<int>;
      const auto [reader, writer] = kin::SimplexPipe<Id>();
      const std::function<void(const Id&)> recurse = [&, writer = writer](const Id& id) {
        writer.send(id);
        if (id.size() == 2) return;
        for (int i = 0; i < 2; ++i) {
          Id next = id;
          next.push_back(i);
          expect(outcome(recurse, next) == 0);
        }
      };
      recurse({});
      for (const Id& id : {Id{}, {0}, {0, 0}, {0, 1}, {1}, {1, 0}, {1, 1}}) {
        CHECK(reader.try_recv() == id);
      }
      CHECK_FALSE(reader.poll());
    });
  }

  // Better than the row: ready at the process's own death, even while a child of it lives.
  TEST_CASE_FIXTURE(Trial, "test_sentinel") {
    const kin::Queue<pid_t> grandchild;
    const kin::Queue<bool> end;
    kin::Process child([=] {
      kin::Process survivor([end] { static_cast<void>(end.get_for(patience)); });
      survivor.start();
      grandchild.put(survivor.pid());
      sleep_for_ever();
    });
    CHECK_THROWS_AS(static_cast<void>(child.sentinel()), std::logic_error);
    child.start();
    const auto survivor = grandchild.get_for(patience);
    REQUIRE(survivor);
    const kin::UniqueFd survivor_fd = watch(*survivor);
    CHECK(child.sentinel() >= 0);
    CHECK_FALSE(is_ready(child.sentinel(), 0ms));
    child.kill();
    CHECK(is_ready(child.sentinel(), patience));
    CHECK_FALSE(is_ready(survivor_fd.get(), 0ms));
    CHECK(end_of(child) == -SIGKILL);
    CHECK(is_ready(child.sentinel(), 0ms));
    end.put(true);
    CHECK(is_ready(survivor_fd.get(), patience));
  }

  TEST_CASE_FIXTURE(Trial, "test_close") {
    const kin::Queue<bool> go_on;
    auto child = std::make_unique<kin::Process>([go_on] { static_cast<void>(go_on.get()); });
    child->start();
    CHECK(child->is_alive());
    CHECK_THROWS_AS(child->close(), std::logic_error);
    CHECK(child->is_alive());
    go_on.put(true);
    CHECK(end_of(*child) == 0);
    const int descriptors = support::open_descriptors();
    child->close();
    CHECK(support::open_descriptors() < descriptors);
    CHECK_THROWS_AS(static_cast<void>(child->is_alive()), std::logic_error);
    CHECK_THROWS_AS(child->join(), std::logic_error);
    CHECK_THROWS_AS(child->terminate(), std::logic_error);
    child->close();
    child.reset();
  }

  TEST_CASE_FIXTURE(Trial, "test_many_processes") {
    constexpr int many = 100;
    std::vector<kin::Process> short_lived;
    for (int i = 0; i < many; ++i) short_lived.emplace_back([] {});
    for (auto& child : short_lived) child.start();
    for (auto& child : short_lived) CHECK(end_of(child) == 0);
    std::vector<kin::Process> sleeping;
    for (int i = 0; i < many; ++i) sleeping.emplace_back(sleep_for_ever);
    for (auto& child : sleeping) child.start();
    for (auto& child : sleeping) child.terminate();
    for (auto& child : sleeping) CHECK(end_of(child) == -SIGTERM);
  }

  TEST_CASE_FIXTURE(Trial, "test_lose_target_ref") {
    on_threads_too([] {
      auto captured = std::make_shared<int>(1);
      auto argument = std::make_shared<int>(2);
      const std::weak_ptr<int> captured_left = captured;
      const std::weak_ptr<int> argument_left = argument;
      kin::Process child(
          [captured](const std::shared_ptr<int>& other) { expect(*captured == 1 && *other == 2); },
          argument);
      captured.reset();
      argument.reset();
      CHECK_FALSE(captured_left.expired());
      child.start();
      CHECK(captured_left.expired());
      CHECK(argument_left.expired());
      CHECK(end_of(child) == 0);
    });
  }

  // CPython leaves it out for fork. kin's children have none of what kin keeps for their siblings.
  TEST_CASE_FIXTURE(Trial, "test_child_fd_inflation") {
    for (const bool daemon : {false, true}) {
      const kin::Queue<int> counts;
      const kin::Queue<bool> go_on;
      constexpr int siblings = 10;
      std::vector<kin::Process> children;
      for (int i = 0; i < siblings; ++i) {
        children.emplace_back(kin::ProcessOptions{.daemon = daemon}, [=] {
          counts.put(support::open_descriptors());
          expect(go_on.get_for(patience) == true);
        });
        children.back().start();
      }
      const auto first = counts.get_for(patience);
      REQUIRE(first);
      for (int i = 1; i < siblings; ++i) CHECK(counts.get_for(patience) == first);
      for (int i = 0; i < siblings; ++i) go_on.put(true);
      for (auto& child : children) CHECK(end_of(child) == 0);
    }
  }

  // Threads that still run when the function returns end with the process.
  TEST_CASE_FIXTURE(Trial, "test_wait_for_threads") {
    const kin::Queue<bool> running;
    const kin::Queue<bool> never;
    CHECK(outcome([=] {
            std::thread([=] {
              running.put(true);
              static_cast<void>(never.get());
            }).detach();
            expect(running.get_for(patience) == true);
          }) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_error_on_stdio_flush_1") {
    const auto start_with_unusable_stdio = [](const char* target) {
      return outcome([target] {  // in a process of its own, since doctest writes too
        for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
          if (target == nullptr) {
            ::close(fd);
          } else {
            const kin::UniqueFd unusable(::open(target, O_WRONLY | O_CLOEXEC));
            expect(::dup2(unusable.get(), fd) == fd);
          }
        }
        std::printf("never seen");
        std::cout << "never seen";
        expect(outcome([] {}) == 0);
        expect(outcome(kin::ProcessOptions{.daemon = true}, [] { std::printf("nor this"); }) == 0);
      });
    };
    on_threads_too([&] {
      CHECK(start_with_unusable_stdio(nullptr) == 0);
      CHECK(start_with_unusable_stdio("/dev/full") == 0);
    });
  }

  TEST_CASE_FIXTURE(Trial, "test_error_on_stdio_flush_2") {
    on_threads_too([] {
      for (const int broken : {STDOUT_FILENO, STDERR_FILENO}) {
        CHECK(outcome([broken] {
                if (broken == STDOUT_FILENO) std::printf("never seen");
                ::close(broken);
              }) == 0);
        CHECK(outcome([broken] {
                if (broken == STDOUT_FILENO) std::printf("never seen");
                const kin::UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
                expect(::dup2(full.get(), broken) == broken);
              }) == 0);
      }
      CHECK(outcome([] { std::fclose(stdout); }) == 0);
    });
  }
}
