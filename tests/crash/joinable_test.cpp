// SPDX-License-Identifier: BSL-1.0

// Whoever takes a message of a JoinableQueue, or says that it is done, is killed or stopped at every
// instruction: the message is still there, or done, or counted as lost with its taker; join() ends.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string still_there = "still there";
const std::string lost = "lost with its taker";
const std::string done = "done";
const std::string joined = "joined";
const std::string never_returned = "never returned";

struct Notes {
  std::atomic<pid_t> pid;  // of the process that was killed last
  std::atomic<pid_t> pid_before;
  std::atomic<int> took;  // how many gets returned
  std::atomic<int> did;   // how many task_dones

  void clear() { pid = pid_before = took = did = 0; }
};

/// A queue with `count` messages, and what is told of them.
class Work {
 public:
  void prepare(int count) {
    sweep_the_dead();
    notes_->clear();
    queue_.emplace();
    for (int i = 0; i < count; ++i) queue_->put(i);
  }

  const kin::JoinableQueue<int>& queue() const { return *queue_; }
  const Notes& notes() const { return *notes_; }

  void take() const {
    notes_->pid_before = notes_->pid.load();  // killed here: twice the same
    notes_->pid = getpid();
    static_cast<void>(queue_->get());
    ++notes_->took;
  }

  void take_and_do() const {
    take();
    queue_->task_done();
    ++notes_->did;
  }

  /// How many there were.
  int take_and_do_the_rest() const {
    int count = 0;
    for (const std::size_t size = queue_->size(); queue_->try_get(); ++count) {
      require(static_cast<std::size_t>(count) < size, "size() is wrong");
      queue_->task_done();
    }
    return count;
  }

  /// How many join() says are lost. It must end.
  int join() const {
    try {
      require(queue_->join_for(5s), "join() does not end");
      return 0;
    } catch (const kin::OwnerDied& death) {
      require(!death.pids().empty(), "nobody died");
      for (const pid_t pid : death.pids()) {
        require(pid == notes_->pid || pid == notes_->pid_before, "another died");
      }
      return static_cast<int>(death.count());
    }
  }

  void require_to_work() const {
    queue_->put(1);
    require(!queue_->join_for(0s), "join() does not wait for a new message");
    require(queue_->get() == 1, "the queue does not work");
    queue_->task_done();
    queue_->join();
  }

  void forget() { queue_.reset(); }

 private:
  crash::SharedPage<Notes> notes_;
  std::optional<kin::JoinableQueue<int>> queue_;
};

}  // namespace

TEST_SUITE("joinable queue") {
  TEST_CASE("one takes a message and does it") {
    const crash::Balance balance;
    Work work;
    crash::prove({
        .name = "joinable: get and task_done",
        .prepare = [&] { work.prepare(2); },
        .operation = [&] { work.take_and_do(); },
        .check = [&](const Moment& moment) -> std::string {
          const int left = work.take_and_do_the_rest();
          require(left == 1 || left == 2, "another message is lost");
          const int died_with = work.join();
          require(died_with == 0 || left == 1, "a message is lost that was never taken");
          require(died_with == 0 || work.notes().did == 0, "a message is lost that was done");
          require(left == 1 || work.notes().took == 0, "a message came twice");
          work.require_to_work();
          sweep_the_dead();
          work.require_to_work();
          if (died_with == 1) return lost;
          require(left == 2 || work.notes().took == 1, "a message is done that nobody had");
          require(left == 1 || !moment.completed, "it was not taken");
          return left == 2 ? still_there : done;
        },
        .expected = {still_there, lost, done},
        .budget = 6s,
    });
    work.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("one sleeps in join()") {
    Work work;
    crash::prove({
        .name = "joinable: task_done that wakes a join",
        .prepare = [&] { work.prepare(1); },
        .operation = [&] { work.take_and_do(); },
        .check = [&](const Moment& moment) -> std::string {
          const int left = work.take_and_do_the_rest();
          const std::string joined = crash::rouse(moment);
          require(left + (joined == "0" ? 0 : 1) <= 1, "a message came twice");
          require(joined == "0" || !moment.completed, "a message is lost that was done");
          if (joined == "1") return lost;
          require(joined == "0", "join() says that there were more");
          return left == 1 ? still_there : done;
        },
        .expected = {still_there, lost, done},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return std::to_string(work.join());
            },
        .budget = 4s,
    });
  }

  TEST_CASE("one sleeps in join(), is woken and killed, and another sleeps there too") {
    Work work;
    crash::prove({
        .name = "joinable: join that is woken",
        .prepare = [&] { work.prepare(1); },
        .operation = [&] { work.queue().join(); },
        .check = [&](const Moment& moment) -> std::string {
          require(crash::rouse(moment) == "0", "the other is told of a loss");
          require(work.take_and_do_the_rest() == 0, "the message came twice");
          require(work.join() == 0, "a message is lost that was done");
          work.require_to_work();
          return moment.completed ? joined : never_returned;
        },
        .expected = {never_returned, joined},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return std::to_string(work.join());
            },
        .waker = [&] { work.take_and_do(); },
        .budget = 2s,
    });
  }

  TEST_CASE("one sleeps in get(), is woken and killed") {
    Work work;
    crash::prove({
        .name = "joinable: get that is woken, and task_done",
        .prepare = [&] { work.prepare(0); },
        .operation = [&] { work.take_and_do(); },
        .check = [&](const Moment& moment) -> std::string {
          const int left = work.take_and_do_the_rest();
          const int died_with = work.join();
          require(left + died_with <= 1, "the message came twice");
          require(left + died_with + work.notes().took >= 1, "a message is done that nobody had");
          require(left == 0 || work.notes().took == 0, "the message came twice");
          require(died_with == 0 || work.notes().did == 0, "a message is lost that was done");
          require(left + died_with == 0 || !moment.completed, "task_done() returned too early");
          work.require_to_work();
          if (died_with == 1) return lost;
          return left == 1 ? still_there : done;
        },
        .expected = {still_there, lost, done},
        .waker = [&] { work.queue().put(0); },
        .budget = 2s,
    });
  }

  TEST_CASE("others take and do at the same time") {
    Work work;
    crash::prove({
        .name = "joinable: get and task_done beside others",
        .prepare = [&] { work.prepare(400); },
        .operation = [&] { work.take_and_do(); },
        .check = [&](const Moment& moment) -> std::string {
          const int turns = static_cast<int>(moment.partner_turns);
          const int left = work.take_and_do_the_rest();
          const int died_with = work.join();
          require(died_with <= 1, "another's message is lost");
          const int taken = 400 - turns - left;
          require(taken == 0 || taken == 1, "a message came twice, or never");
          require(taken == 1 || !moment.completed, "it was not taken");
          if (died_with == 1) return lost;
          return taken == 1 ? done : still_there;
        },
        .expected = {still_there, lost, done},
        .partner =
            [&] {
              static_cast<void>(work.queue().get());
              work.queue().task_done();
            },
        .partner_every = 8,
        .budget = 4s,
    });
  }

  TEST_CASE("whoever takes and does is stopped, and goes on later") {
    Work work;
    crash::prove({
        .name = "joinable: get and task_done",
        .prepare = [&] { work.prepare(2); },
        .operation = [&] { work.take_and_do(); },
        .check = [&](const Moment&) -> std::string {
          require(work.notes().did == 1, "it did not finish");
          require(work.take_and_do_the_rest() == 2, "a message is lost, or came twice");
          require(work.join() == 0, "a message was taken from a process that lives");
          return done;
        },
        .expected = {done},
        .with = With::stop,
        .while_stopped = [&] { work.queue().put(3); },
        .budget = 6s,
    });
  }

  TEST_CASE("whoever comes next is killed too") {
    Work work;
    const auto check = [&](const Moment&) -> std::string {
      const int left = work.take_and_do_the_rest();
      const int died_with = work.join();
      require(left + work.notes().took <= 3, "a message came twice");
      require(died_with <= 3 - left - work.notes().did, "a message is lost that was done");
      require(3 - left - died_with <= work.notes().took, "a message is done that nobody had");
      work.require_to_work();
      sweep_the_dead();
      work.require_to_work();
      return std::to_string(left) + " there, " + std::to_string(died_with) + " lost";
    };
    crash::Scenario scenario{
        .name = "joinable: get and task_done after killed ones",
        .prepare = [&] { work.prepare(3); },
        .operation = [&] { work.take_and_do(); },
        .check = check,
        .expected = {"3 there, 0 lost", "2 there, 1 lost", "2 there, 0 lost", "1 there, 2 lost",
                     "1 there, 1 lost", "1 there, 0 lost"},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .recovery = [&] { work.take_and_do(); },
        .budget = 5s,
    };
    crash::prove_at_changes_and_instructions(scenario, 1s);

    scenario.name = "joinable: join after a killed get";
    scenario.operation = [&] { work.take(); };
    scenario.recovery = [&] { static_cast<void>(work.queue().join_for(0s)); };
    scenario.expected = {"3 there, 0 lost", "2 there, 1 lost"};
    crash::prove_at_changes_and_instructions(scenario, 1s);
  }
}
