// SPDX-License-Identifier: BSL-1.0

// Whoever takes a message is killed, or stopped, at every instruction: the message is still there, or
// went with its taker, and all others go on.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using crash::At;
using crash::drain;
using crash::Moment;
using crash::Notes;
using crash::require;
using crash::rouse;
using crash::sweep_the_dead;
using crash::wait_until_asleep;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string still_there = "still there";
const std::string taken = "taken";

template <typename T>
void prove_get(const std::string& name, T first, T second, bool anew) {
  const crash::Balance balance;
  const crash::SharedPage<Notes> notes;
  std::optional<kin::Queue<T>> queue;
  crash::prove({
      .name = name,
      .prepare =
          [&] {
            sweep_the_dead();
            notes->clear();
            if (anew || !queue) queue.emplace();
            queue->put(first);
            queue->put(second);
          },
      .operation = [&] { (queue->get() == first ? notes->got_it : notes->got_junk) = true; },
      .check = [&](const Moment& moment) -> std::string {
        require(!notes->got_junk, "it got another message");
        const std::vector<T> items = drain(*queue);
        require(!items.empty() && items.back() == second, "another message is lost");
        const bool is_there = items.size() == 2;
        require(!is_there || items.front() == first, "the message is torn");
        require(!is_there || !notes->got_it, "the message came twice");
        require(!is_there || !moment.completed, "get() returned and the message is still there");
        sweep_the_dead();
        queue->put(first);
        require(queue->get() == first && queue->empty(), "the queue does not work");
        return is_there ? still_there : taken;
      },
      .expected = {still_there, taken},
      .budget = 5s,
  });
  queue.reset();
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

TEST_SUITE("queue get") {
  TEST_CASE("a number is taken") {
    prove_get<int>("get of an int", 1, 2, true);
    prove_get<int>("get of an int, always the same queue", 1, 2, false);
  }

  TEST_CASE("a string is taken") {
    prove_get<std::string>("get of a string", "a message that does not fit into the string", "next",
                           true);
  }

  TEST_CASE("another takes at the same time") {
    constexpr int most = 4000;
    struct Got {
      std::atomic<int> by_victim;
      std::atomic<int> count;
      std::array<int, most> by_other;
    };
    const crash::SharedPage<Got> got;
    std::optional<kin::Queue<int>> queue;
    std::vector<int> all(200);
    std::iota(all.begin(), all.end(), 1);
    crash::Scenario scenario{
        .name = "get beside gets",
        .prepare =
            [&] {
              sweep_the_dead();
              got->by_victim = got->count = 0;
              queue.emplace();
              for (const int item : all) queue->put(item);
            },
        .operation = [&] { got->by_victim = queue->get(); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> seen(got->by_other.begin(), got->by_other.begin() + got->count);
          for (const int item : drain(*queue)) seen.push_back(item);
          require(std::is_sorted(seen.begin(), seen.end()), "out of order");
          if (got->by_victim != 0) seen.push_back(got->by_victim);
          std::sort(seen.begin(), seen.end());
          require(std::adjacent_find(seen.begin(), seen.end()) == seen.end(), "one came twice");
          require(seen.size() + 1 >= all.size(), "the messages of others are lost");
          require(seen.size() <= all.size(), "one came that was never put");
          const bool was_taken = seen.size() < all.size() || got->by_victim != 0;
          require(was_taken || !moment.completed, "get() returned nothing");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .partner =
            [&] {
              if (const auto item = queue->try_get()) {
                got->by_other[static_cast<std::size_t>(got->count)] = *item;
                ++got->count;
              }
            },
        .partner_every = 4,
        .budget = 4s,
    };
    crash::prove(scenario);
  }

  TEST_CASE("a put sleeps in a full queue") {
    std::optional<kin::Queue<int>> queue;
    crash::prove({
        .name = "get that makes room",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace(1);
              queue->put(1);
            },
        .operation = [&] { static_cast<void>(queue->get()); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_taken = crash::gets_from(*queue) == 1;
          // The sleeper gets on by itself if there is room.
          if (!was_taken) require(queue->get() == 1, "the message is torn");
          require(rouse(moment) == "put", "the sleeper did not put");
          require(drain(*queue) == std::vector{2}, "the sleeper's message is lost, or came twice");
          require(was_taken || !moment.completed, "get() returned too early");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              queue->put(2);
              return "put";
            },
        .budget = 4s,
    });
  }

  TEST_CASE("a reader sleeps, is woken and killed") {
    std::optional<kin::Queue<int>> queue;
    crash::prove({
        .name = "get that is woken",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace();
            },
        .operation = [&] { static_cast<void>(queue->get()); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<int> items = drain(*queue);
          require(items.empty() || items == std::vector{2}, "the message is torn");
          require(items.empty() || !moment.completed, "get() returned too early");
          queue->put(3);
          require(queue->get_for(5s) == 3, "the queue does not work");
          return items.empty() ? taken : still_there;
        },
        .expected = {still_there, taken},
        .waker = [&] { queue->put(2); },
        .budget = 4s,
    });
  }

  TEST_CASE("a reader is woken and killed, and another slept behind it") {
    const crash::SharedPage<Notes> notes;
    std::optional<kin::Queue<int>> queue;
    crash::prove({
        .name = "get that is woken before another's",
        .prepare =
            [&] {
              sweep_the_dead();
              notes->clear();
              queue.emplace();
            },
        .operation = [&] { static_cast<void>(queue->get()); },
        .check = [&](const Moment& moment) -> std::string {
          // If the woken one did not take it, the other does, at the end of its slice at the latest.
          crash::end_slice(moment);
          while (crash::gets_from(*queue) == 0) std::this_thread::sleep_for(100us);
          queue->put(3);
          const bool was_taken = moment.sleeper_answer() == "3";
          require(drain(*queue) == (was_taken ? std::vector<int>{} : std::vector{3}),
                  "a message is lost, or came twice");
          require(was_taken || !moment.completed, "get() returned too early");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              while (!notes->sleeps) std::this_thread::sleep_for(100us);
              notes->other = getpid();
              return std::to_string(queue->get());
            },
        .waker = [&] { queue->put(2); },
        .once_asleep =
            [&] {
              notes->sleeps = true;
              wait_until_asleep(notes->other);
            },
        .budget = 5s,
    });
  }

  TEST_CASE("whoever takes is stopped, and goes on later") {
    const crash::SharedPage<Notes> notes;
    std::optional<kin::Queue<int>> queue;
    crash::prove({
        .name = "get",
        .prepare =
            [&] {
              sweep_the_dead();
              notes->clear();
              queue.emplace();
              queue->put(1);
              queue->put(2);
            },
        .operation = [&] { (queue->get() == 1 ? notes->got_it : notes->got_junk) = true; },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.completed && notes->got_it, "it did not get its message");
          require(drain(*queue) == std::vector{2, 3}, "another's message is lost, or came twice");
          return taken;
        },
        .expected = {taken},
        .with = With::stop,
        .while_stopped =
            [&] {
              queue->put(3);
              require(queue->size() >= 2, "messages are lost beside a stopped process");
            },
    });
  }

  TEST_CASE("whoever takes next is killed too") {
    std::optional<kin::Queue<int>> queue;
    crash::Scenario scenario{
        .name = "get after a killed get",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace();
              for (const int item : {1, 2, 3}) queue->put(item);
            },
        .operation = [&] { static_cast<void>(queue->get()); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<int> items = drain(*queue);
          require(!items.empty() && items.back() == 3, "another message is lost");
          const std::size_t returned =
              (moment.first_completed ? 1U : 0U) + (moment.completed ? 1U : 0U);
          require(items.size() + returned <= 3, "get() returned and the message is still there");
          std::string outcome;
          for (const int item : items) outcome += std::to_string(item);
          sweep_the_dead();
          queue->put(4);
          require(drain(*queue) == std::vector{4}, "the queue does not work");
          return outcome;
        },
        .expected = {"123", "23", "3"},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .recovery = [&] { static_cast<void>(queue->get()); },
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 4s;
    crash::prove(scenario);
  }
}
