// SPDX-License-Identifier: BSL-1.0

// What is kin's own about Process; what it shares with Python's is in tests/conformance.

#include <kin/process.hpp>

#include "frame.hpp"

#include <kin/queue.hpp>
#include <kin/wait.hpp>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/ptrace.h>
#include <unistd.h>

using kin::Process;
using kin::ProcessOptions;
using kin::Queue;
using namespace std::chrono_literals;

namespace {

static_assert(!std::is_copy_constructible_v<Process> &&
              std::is_nothrow_move_constructible_v<Process>);
static_assert(std::is_copy_constructible_v<kin::ProcessHandle>);
static_assert(!std::is_constructible_v<Process, int (*)(int), std::string>);
static_assert(!std::is_constructible_v<Process, std::function<void(int)>>);

// The exit code of a child; none, and the child is killed, if it does not end.
std::optional<int> end_of(Process& child) {
  if (child.join_for(unit::patience)) return child.exit_code();
  child.kill();
  child.join();
  return std::nullopt;
}

template <typename... Arguments>
std::optional<int> outcome(Arguments&&... arguments) {
  Process child(std::forward<Arguments>(arguments)...);
  child.start();
  return end_of(child);
}

void wait_for_ever() {
  while (true) ::pause();
}

// Tells when it is destroyed in the process that made it.
struct Witness {
  explicit Witness(int& destroyed) : count(&destroyed) {}
  Witness(Witness&& other) noexcept : count(std::exchange(other.count, nullptr)) {}
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  ~Witness() {
    if (count != nullptr) ++*count;
  }
  int* count;
};

struct Greeter {
  std::string greeting;
  void greet(const Queue<std::string>& to, const std::string& name) const {
    to.put(greeting + ", " + name);
  }
};

class Subclass : public Process {
 public:
  explicit Subclass(Queue<int> queue)
      : Process(ProcessOptions{.name = "subclass"}), queue_(std::move(queue)) {}

 private:
  void run() override { queue_.put(static_cast<int>(name().size())); }
  Queue<int> queue_;
};

}  // namespace

TEST_SUITE("process") {
  TEST_CASE_FIXTURE(unit::Frame, "any callable with any arguments that can be moved") {
    const Queue<std::string> words;
    CHECK(outcome([&] { words.put("a lambda"); }) == 0);
    CHECK(outcome([&](const std::string& word) { words.put(word); }, "an argument") == 0);
    CHECK(outcome(
              [&](std::unique_ptr<std::string> owned, std::string changed) {
                changed += *owned;
                words.put(changed);
              },
              std::make_unique<std::string>(" can be moved"), std::string("what")) == 0);
    CHECK(outcome([owned = std::make_unique<int>(3), &words] {
            words.put(std::to_string(*owned));
          }) == 0);
    CHECK(outcome(&Greeter::greet, Greeter{"hello"}, words, "kin") == 0);
    const Greeter by_reference{"hi"};
    CHECK(outcome(&Greeter::greet, &by_reference, std::cref(words), "you") == 0);
    CHECK(outcome(std::function<void()>([&] { words.put("std::function"); })) == 0);
    for (const char* word : {"a lambda", "an argument", "what can be moved", "3", "hello, kin",
                             "hi, you", "std::function"}) {
      CHECK(words.try_get() == word);
    }
    CHECK(words.empty());
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "the function and its arguments are destroyed in the parent by start") {
    int destroyed = 0;
    {
      Process child([](const Witness&) {}, Witness(destroyed));
      destroyed = 0;  // temporaries
      child.start();
      CHECK(destroyed == 1);
      CHECK(end_of(child) == 0);
    }
    CHECK(destroyed == 1);
    {
      const Process never_started([](const Witness&) {}, Witness(destroyed));
    }
    CHECK(destroyed == 2);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a subclass overrides run") {
    const Queue<int> queue;
    Subclass child(queue);
    child.start();
    CHECK(end_of(child) == 0);
    CHECK(queue.try_get() == 8);
    CHECK(outcome() == 0);  // without a function: nothing to do
  }

  TEST_CASE_FIXTURE(unit::Frame, "names and daemons") {
    const Queue<std::string> names;
    const Process first(wait_for_ever);
    const Process second(wait_for_ever);
    CHECK(first.name().starts_with("Process-"));
    CHECK(first.name() != second.name());
    CHECK_FALSE(first.daemon());
    Process child({.name = "mother", .daemon = true}, [&] {
      names.put(kin::current_process().name());
      Process grandchild([&] {
        names.put(kin::current_process().name());
        names.put(kin::parent_process()->name());
      });
      if (!grandchild.daemon()) return;  // as its creator
      grandchild.start();
      grandchild.join();
    });
    CHECK(child.daemon());
    child.start();
    CHECK(end_of(child) == 0);
    CHECK(names.try_get() == "mother");
    CHECK(names.try_get() == "mother:1");
    CHECK(names.try_get() == "mother");
  }

  TEST_CASE_FIXTURE(unit::Frame, "before its start there is not much to ask") {
    Process child(wait_for_ever);
    CHECK(child.pid() == 0);
    CHECK_FALSE(child.is_alive());
    CHECK_FALSE(child.exit_code());
    CHECK_THROWS_AS(child.join(), std::logic_error);
    CHECK_THROWS_AS(child.kill(), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(child.sentinel()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(child.handle()), std::logic_error);
    child.close();
    CHECK_THROWS_AS(child.start(), std::logic_error);
  }

  TEST_CASE_FIXTURE(unit::Frame, "it may be moved at any time, running or not") {
    Process child(wait_for_ever);
    Process moved = std::move(child);
    moved.start();
    const pid_t pid = moved.pid();
    Process again(wait_for_ever);
    again = std::move(moved);
    CHECK(again.pid() == pid);
    CHECK(again.is_alive());
    // NOLINTNEXTLINE(bugprone-use-after-move): what is left is what is tested
    CHECK_THROWS_AS(static_cast<void>(moved.is_alive()), std::logic_error);
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK_THROWS_AS(child.close(), std::logic_error);
    again.kill();
    CHECK(end_of(again) == -SIGKILL);
    std::vector<Process> children;
    for (int i = 0; i < 10; ++i) children.emplace_back(std::_Exit, i);
    for (Process& one : children) one.start();
    for (int i = 0; i < 10; ++i) CHECK(end_of(children[static_cast<std::size_t>(i)]) == i);
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "assigning to one that runs first ends it as its destructor does") {
    const Queue<int> queue;
    Process child([&] { queue.put(queue.get() + 1); });
    child.start();
    queue.put(1);
    child = Process(wait_for_ever);  // waits for it
    CHECK(queue.try_get() == 2);
    Process daemon({.daemon = true}, wait_for_ever);
    daemon.start();
    const kin::ProcessHandle handle = daemon.handle();
    daemon = Process();
    CHECK_FALSE(handle.is_alive());
    CHECK(handle.exit_code() == -SIGTERM);
  }

  TEST_CASE_FIXTURE(unit::Frame, "one that a debugger holds is over when that has let go of it") {
    const Queue<int> code;
    Process child([&] { std::_Exit(code.get()); });
    child.start();
    const Queue<bool> said;
    const Queue<bool> go;
    Process debugger([&, pid = child.pid()] {
      said.put(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0);
      static_cast<void>(go.get());
    });
    debugger.start();
    REQUIRE(said.get());
    code.put(7);
    REQUIRE(kin::wait_any({child.sentinel()}, unit::patience).size() == 1);
    CHECK_FALSE(child.join_for(20ms));  // it is dead, but the debugger is told first
    CHECK(child.is_alive());
    CHECK_FALSE(child.exit_code().has_value());
    go.put(true);
    CHECK(child.join_for(unit::patience));
    CHECK(child.exit_code() == 7);
    CHECK(end_of(debugger) == 0);
  }

  TEST_CASE_FIXTURE(unit::Frame, "during stack unwinding no child is waited for") {
    std::optional<kin::ProcessHandle> handle;
    try {
      Process child(wait_for_ever);
      child.start();
      handle = child.handle();
      throw 1;
    } catch (int) {
    }
    CHECK_FALSE(handle->is_alive());
    CHECK(handle->exit_code() == -SIGTERM);
  }

  TEST_CASE_FIXTURE(unit::Frame, "one that was made while unwinding is ended as any other") {
    struct InDestructor {
      std::optional<int>* code;
      ~InDestructor() {
        Process child([] {});
        child.start();
        const auto handle = child.handle();
        child = Process();
        *code = handle.exit_code();
      }
    };
    std::optional<int> code;
    try {
      const InDestructor object{&code};
      throw 1;
    } catch (int) {
    }
    CHECK(code == 0);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a handle outlives its process, and any thread may use it") {
    std::optional<kin::ProcessHandle> handle;
    {
      Process child({.name = "short", .daemon = true}, wait_for_ever);
      child.start();
      handle = child.handle();
      CHECK(handle->is_alive());
      CHECK(handle->pid() == child.pid());
      CHECK(handle->daemon());
    }
    CHECK(handle->name() == "short");
    CHECK_FALSE(handle->is_alive());
    CHECK_NOTHROW(handle->kill());
    bool joined = false;
    std::thread([&] { joined = handle->join_for(unit::patience); }).join();
    CHECK(joined);
    CHECK(handle->exit_code() == -SIGTERM);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a process does not wait for itself, and sees itself alive") {
    const kin::ProcessHandle self = kin::current_process();
    CHECK(self.pid() == ::getpid());
    CHECK(self.is_alive());
    CHECK_FALSE(self.exit_code());
    CHECK_THROWS_AS(self.join(), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(self.join_for(std::chrono::seconds(1))), std::logic_error);
    CHECK_FALSE(kin::parent_process());
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child sees its parent, and its parent's end") {
    const Queue<std::string> seen;
    const crash::SharedPage<std::atomic<bool>> may_end;
    unit::Relative parent([&] {
      auto child = std::make_unique<Process>(ProcessOptions{.name = "orphan"}, [&] {
        const auto handle = kin::parent_process();
        seen.put(std::to_string(handle->pid()) + (handle->is_alive() ? " lives" : " is dead"));
        seen.put(handle->join_for(unit::patience) ? "dead" : "lives on");
      });
      child->start();
      child.release();  // NOLINT(bugprone-unused-return-value): nobody waits for it
      unit::eventually([&] { return may_end->load(); });
      return "ends";
    });
    CHECK(seen.get_for(unit::patience) == std::to_string(parent.pid()) + " lives");
    *may_end = true;
    CHECK(parent.answer() == "ends");
    CHECK(seen.get_for(unit::patience) == "dead");
  }

  TEST_CASE_FIXTURE(unit::Frame, "the children that run, and only these, are active") {
    CHECK(kin::active_children().empty());
    Process first(wait_for_ever);
    Process second([] {});
    first.start();
    second.start();
    CHECK(end_of(second) == 0);
    const auto active = kin::active_children();
    REQUIRE(active.size() == 1);
    CHECK(active[0].pid() == first.pid());
    active[0].terminate();
    CHECK(end_of(first) == -SIGTERM);
    CHECK(kin::active_children().empty());
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child has its own copy of everything, and the same queue") {
    std::vector<int> numbers = {1, 2, 3};
    const Queue<std::vector<int>> queue;
    CHECK(outcome([&] {
            numbers.push_back(4);
            queue.put(numbers);
          }) == 0);
    CHECK(numbers.size() == 3);
    CHECK(queue.get().size() == 4);
  }
}
