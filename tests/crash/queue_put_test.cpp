// SPDX-License-Identifier: BSL-1.0

// Whoever puts a message is killed, or stopped, at every instruction: the message is in the queue whole,
// or not at all, and all others go on.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using crash::At;
using crash::drain;
using crash::Moment;
using crash::require;
using crash::rouse;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string never_put = "never put";
const std::string put_whole = "put whole";

/// Holds what was in the queue before; the traced process puts `item`.
template <typename T>
struct Put {
  T before;
  T item;
  T after;
  std::optional<kin::Queue<T>> queue = std::nullopt;

  void prepare() {
    sweep_the_dead();
    queue.emplace();
    queue->put(before);
  }

  std::string outcome(const Moment& moment) const {
    queue->put(after);
    std::vector<T> items = drain(*queue);
    require(items.size() >= 2 && items.front() == before && items.back() == after,
            "a message of somebody else's is lost");
    const bool was_put = items.size() == 3;
    require(!was_put || items[1] == item, "the message is torn");
    require(items.size() <= 3, "put more than once");
    require(was_put || !moment.completed, "put() returned and the message is lost");
    sweep_the_dead();
    queue->put(before);
    require(queue->get() == before && queue->empty(), "the queue does not work after the sweep");
    return was_put ? put_whole : never_put;
  }
};

template <typename T>
void prove_put(const std::string& name, Put<T> put) {
  const crash::Balance balance;
  crash::prove({
      .name = name,
      .prepare = [&] { put.prepare(); },
      .operation = [&] { put.queue->put(put.item); },
      .check = [&](const Moment& moment) { return put.outcome(moment); },
      .expected = {never_put, put_whole},
  });
  put.queue.reset();
  CHECK_NOTHROW(balance.require_unchanged());
}

/// What a stopped process's neighbours can do: take what was put before.
void take_first(const kin::Queue<int>& queue, int first) {
  require(queue.size() >= 1, "a message is lost beside a stopped process");
  require(queue.try_get() == first, "a message can't be taken beside a stopped process");
}

/// The ring that a queue puts into.
template <typename T>
const kin::detail::Segment& ring_of(const kin::Queue<T>& queue) {
  return *crash::channel_of(queue).tail_segment.load();
}
std::uintptr_t end_of(const kin::detail::Segment& ring) {
  return reinterpret_cast<std::uintptr_t>(&ring) + kin::detail::Segment::header_size +
         ring.units() * kin::detail::Cursor::unit;
}
/// How many bytes lie between the tail and the ring's end.
template <typename T>
std::size_t rest_of_ring(const kin::Queue<T>& queue) {
  const kin::detail::Segment& ring = ring_of(queue);
  const kin::detail::Cursor tail(crash::channel_of(queue).tail.load());
  return std::size_t{ring.units() - ((tail.position() - ring.base) & ring.mask)} *
         kin::detail::Cursor::unit;
}

/// Whether the traced process's message, the first that was ever put, is in the queue or was taken.
std::string by_puts(std::uint32_t puts) { return puts == 0 ? never_put : put_whole; }

}  // namespace

TEST_SUITE("queue put") {
  TEST_CASE("a number is put") { prove_put<int>("put of an int", {1, 2, 3}); }

  TEST_CASE("a string is put") {
    prove_put<std::string>("put of a string",
                           {"before", "a message that does not fit into the string", "after"});
  }

  TEST_CASE("a string is put where the ring begins again") {
    // The message and the one behind it are too long for what is left of the ring: a pad goes before whichever is put
    // first. Right behind the ring lies another queue's.
    const std::string kept = "of another queue";
    const std::string longer(100, 'l');
    Put<std::string> put{"before", "a message that does not fit into the rest", longer};
    std::optional<kin::Queue<std::string>> neighbour;
    const crash::Balance balance;
    crash::prove({
        .name = "put of a string behind a pad",
        .prepare =
            [&] {
              put.prepare();
              neighbour.emplace();
              neighbour->put(kept);
              require(reinterpret_cast<std::uintptr_t>(&ring_of(*neighbour)) ==
                          end_of(ring_of(*put.queue)),
                      "no other ring lies right behind");
              while (rest_of_ring(*put.queue) > put.item.size()) {
                put.queue->put(put.before);
                require(put.queue->get() == put.before, "the queue does not work");
              }
            },
        .operation = [&] { put.queue->put(put.item); },
        .check =
            [&](const Moment& moment) {
              const std::string outcome = put.outcome(moment);
              const kin::detail::Segment& behind = ring_of(*neighbour);
              require(behind.units() == ring_of(*put.queue).units() && !behind.next,
                      "a message was written past its ring");
              require(neighbour->get() == kept, "another queue lost its message");
              return outcome;
            },
        .expected = {never_put, put_whole},
    });
    put.queue.reset();
    neighbour.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("another puts at the same time") {
    constexpr int ours = -1;
    std::optional<kin::Queue<int>> queue;
    crash::Scenario scenario{
        .name = "put beside puts",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace();
            },
        .operation = [&] { queue->put(ours); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> items = drain(*queue);
          const bool was_put = std::erase(items, ours) == 1;
          require(items.size() == moment.partner_turns, "the other's messages are not all there");
          for (std::size_t i = 0; i < items.size(); ++i) {
            require(items[i] == static_cast<int>(i), "the other's messages are out of order");
          }
          require(was_put || !moment.completed, "put() returned and the message is lost");
          return was_put ? put_whole : never_put;
        },
        .expected = {never_put, put_whole},
        .partner = [&, next = 0]() mutable { queue->put(next++); },
        .partner_every = 4,
        .budget = 4s,
    };
    crash::prove(scenario);

    scenario.name = "put beside puts without a pause";
    scenario.partner = [&, next = 0]() mutable {
      queue->put(next++);
      if (queue->size() > 1000) std::this_thread::sleep_for(1ms);
    };
    scenario.partner_every = 0;
    scenario.budget = 3s;
    crash::prove(scenario);
  }

  TEST_CASE("a reader sleeps") {
    std::optional<kin::Queue<int>> queue;
    crash::prove({
        .name = "put that wakes a reader",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace();
            },
        .operation = [&] { queue->put(2); },
        .check = [&](const Moment& moment) -> std::string {
          const std::string outcome = by_puts(crash::puts_into(*queue));
          // The sleeper gets on by itself if there is something for it.
          if (outcome == never_put) queue->put(3);
          require(rouse(moment) == (outcome == never_put ? "3" : "2"),
                  "the sleeper has another's message");
          require(queue->empty(), "a message came twice");
          require(outcome == put_whole || !moment.completed, "put() returned too early");
          return outcome;
        },
        .expected = {never_put, put_whole},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return std::to_string(queue->get());
            },
        .budget = 4s,
    });
  }

  TEST_CASE("a put sleeps in a full queue, is woken and killed") {
    std::optional<kin::Queue<int>> queue;
    crash::prove({
        .name = "put that is woken",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace(1);
              queue->put(1);
            },
        .operation = [&] { queue->put(2); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> items = drain(*queue);
          require(items.empty() || items == std::vector{2}, "the message is torn");
          require(!items.empty() || !moment.completed, "put() returned and the message is lost");
          require(queue->put_for(3, 5s) && queue->get() == 3, "the queue does not work");
          return items.empty() ? never_put : put_whole;
        },
        .expected = {never_put, put_whole},
        .waker = [&] { require(queue->get() == 1, "the message before is lost"); },
        .budget = 4s,
    });
  }

  TEST_CASE("whoever puts is stopped, and goes on later") {
    Put<int> put{1, 2, 3};
    crash::prove({
        .name = "put",
        .prepare = [&] { put.prepare(); },
        .operation = [&] { put.queue->put(put.item); },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.completed, "it did not finish");
          require(drain(*put.queue) == std::vector{put.item}, "its message is lost, or came twice");
          return put_whole;
        },
        .expected = {put_whole},
        .with = With::stop,
        .while_stopped = [&] { take_first(*put.queue, put.before); },
    });
  }

  TEST_CASE("whoever puts next is killed too") {
    std::optional<kin::Queue<int>> queue;
    crash::Scenario scenario{
        .name = "put after a killed put",
        .prepare =
            [&] {
              sweep_the_dead();
              queue.emplace();
            },
        .operation = [&] { queue->put(2); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<int> items = drain(*queue);
          std::string outcome;
          for (const int item : items) outcome += std::to_string(item);
          const auto is_there = [&](int item) { return std::ranges::count(items, item) == 1; };
          require(is_there(2) || !moment.first_completed,
                  "the first returned and its message is lost");
          require(is_there(3) || !moment.completed, "put() returned and the message is lost");
          sweep_the_dead();
          queue->put(4);
          require(drain(*queue) == std::vector{4}, "the queue does not work");
          return outcome.empty() ? "none" : outcome;
        },
        .expected = {"none", "2", "3", "23"},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .recovery = [&] { queue->put(3); },
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 4s;
    crash::prove(scenario);
  }
}
