// SPDX-License-Identifier: BSL-1.0

// The longer operations of a queue: it grows, moves on from what it has grown out of, and shrinks. Whoever
// does that is killed or stopped at every change that others can see.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using crash::At;
using crash::drain;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string before = "before the commit";
const std::string between = "before it, and the base is brought along";
const std::string behind = "behind it";

/// How many numbers the first ring of a queue holds.
constexpr int first_ring = 128;

/// A queue of numbers, or of strings, in which `expected` must be found.
template <typename T>
class Fresh {
 public:
  const kin::Queue<T>& queue() const { return *queue_; }

  void prepare(std::vector<T> items) {
    sweep_the_dead();
    queue_.emplace();
    for (const T& item : items) queue_->put(item);
    items_ = std::move(items);
  }
  /// Takes the first ones again.
  void take(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) require(queue_->get() == items_[i], "another came");
    items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(count));
  }
  void forget() { queue_.reset(); }

  /// After a put of `item`.
  std::string outcome_of_put(const Moment& moment, const T& item) const {
    const std::vector<T> found = drain(*queue_);
    std::vector<T> with_it = items_;
    with_it.push_back(item);
    require(found == items_ || found == with_it, "messages are lost, or torn");
    const bool was_put = found == with_it;
    require(was_put || !moment.completed, "put() returned and the message is lost");
    require_to_work();
    return was_put ? behind : before;
  }
  /// After a get.
  std::string outcome_of_get(const Moment& moment) const {
    const std::vector<T> found = drain(*queue_);
    const std::vector<T> without_it(items_.begin() + 1, items_.end());
    require(found == items_ || found == without_it, "messages are lost, or torn");
    const bool was_taken = found == without_it;
    require(was_taken || !moment.completed, "get() returned and the message is still there");
    require_to_work();
    return was_taken ? behind : before;
  }
  /// Nothing is lost, whoever else is killed.
  std::string outcome_of_two_puts(const Moment& moment, const T& item) const {
    std::vector<T> found = drain(*queue_);
    const std::size_t more = found.size() - items_.size();
    require(more <= 2, "a message came twice, or is lost");
    require(more >= returned(moment), "put() returned and the message is lost");
    for (std::size_t i = 0; i < found.size(); ++i) {
      require(found[i] == (i < items_.size() ? items_[i] : item), "messages are torn");
    }
    require_to_work();
    return std::to_string(more);
  }
  std::string outcome_of_two_gets(const Moment& moment) const {
    const std::vector<T> found = drain(*queue_);
    const std::size_t less = items_.size() - found.size();
    require(less <= 2, "messages are lost");
    require(less >= returned(moment), "get() returned and the message is still there");
    require(
        found == std::vector<T>(items_.begin() + static_cast<std::ptrdiff_t>(less), items_.end()),
        "messages are torn");
    require_to_work();
    return std::to_string(less);
  }

 private:
  std::optional<kin::Queue<T>> queue_;
  std::vector<T> items_;

  /// How many of the two operations.
  static std::size_t returned(const Moment& moment) {
    return (moment.first_completed ? 1U : 0U) + (moment.completed ? 1U : 0U);
  }
  void require_to_work() const {
    sweep_the_dead();
    for (int again = 0; again < 2 * first_ring; ++again) queue_->put(items_.back());
    require(drain(*queue_).size() == 2 * first_ring, "the queue does not work");
  }
};

std::vector<int> numbers(int count) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i);
  return all;
}

}  // namespace

TEST_SUITE("queue growth") {
  TEST_CASE("a put finds the ring full") {
    const crash::Balance balance;
    Fresh<int> fresh;
    crash::Scenario scenario{
        .name = "put that grows the queue",
        .prepare = [&] { fresh.prepare(numbers(first_ring)); },
        .operation = [&] { fresh.queue().put(-1); },
        .check = [&](const Moment& moment) { return fresh.outcome_of_put(moment, -1); },
        .expected = {before, behind},
        .watch = [&] { return crash::memory_of_family(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 2s);

    scenario.name = "put that grows the queue after a killed one";
    scenario.at = At::every_change;
    scenario.check = [&](const Moment& moment) { return fresh.outcome_of_two_puts(moment, -1); };
    scenario.expected = {};
    scenario.possible = {"0", "1", "2"};
    scenario.recovery = scenario.operation;
    scenario.budget = 4s;
    crash::prove(scenario);
    fresh.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a put finds that the ring began long ago") {
    constexpr std::uint32_t long_ago = std::uint32_t{1} << 29;
    const crash::Balance balance;
    Fresh<int> fresh;
    const auto since_base = [&] {
      const kin::detail::ByteChannel& channel = crash::channel_of(fresh.queue());
      const std::uint32_t at = kin::detail::Cursor(channel.tail.load()).position();
      return at - channel.tail_segment.load()->base.load();
    };
    crash::prove({
        .name = "put that brings a ring's base along",
        .prepare =
            [&] {
              fresh.prepare(numbers(first_ring));
              fresh.take(first_ring - 2);
              // As if 4 GiB more had been through it.
              crash::channel_of(fresh.queue()).tail_segment.load()->base -= long_ago;
            },
        .operation = [&] { fresh.queue().put(-1); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_brought = since_base() < long_ago;
          require(was_brought || !moment.completed, "put() returned, and the base is where it was");
          const std::string outcome = fresh.outcome_of_put(moment, -1);
          return outcome == before && was_brought ? between : outcome;
        },
        .expected = {before, between, behind},
    });
    fresh.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a get moves on to the next ring") {
    const crash::Balance balance;
    Fresh<int> fresh;
    crash::Scenario scenario{
        .name = "get that frees a ring",
        .prepare =
            [&] {
              fresh.prepare(numbers(first_ring + 4));
              fresh.take(first_ring);
            },
        .operation = [&] { static_cast<void>(fresh.queue().get()); },
        .check = [&](const Moment& moment) { return fresh.outcome_of_get(moment); },
        .expected = {before, behind},
        .watch = [&] { return crash::memory_of_family(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 2s);

    scenario.name = "get that frees a ring after a killed one";
    scenario.at = At::every_change;
    scenario.check = [&](const Moment& moment) { return fresh.outcome_of_two_gets(moment); };
    scenario.expected = {};
    scenario.possible = {"0", "1", "2"};
    scenario.recovery = scenario.operation;
    scenario.budget = 4s;
    crash::prove(scenario);
    fresh.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a large message is put, and taken") {
    const crash::Balance balance;
    const std::string large(100'000, 'x');
    Fresh<std::string> fresh;
    crash::Scenario scenario{
        .name = "put of a large message",
        .prepare = [&] { fresh.prepare({"before"}); },
        .operation = [&] { fresh.queue().put(large); },
        .check = [&](const Moment& moment) { return fresh.outcome_of_put(moment, large); },
        .expected = {before, behind},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .budget = 5s,
    };
    crash::prove(scenario);

    scenario.name = "get of a large message";
    scenario.prepare = [&] { fresh.prepare({large, "behind"}); };
    scenario.operation = [&] { static_cast<void>(fresh.queue().get()); };
    scenario.check = [&](const Moment& moment) { return fresh.outcome_of_get(moment); };
    crash::prove(scenario);
    fresh.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a get drains a large ring, which is given back") {
    const crash::Balance balance;
    Fresh<std::string> fresh;
    const auto is_large = [&] { return crash::channel_of(fresh.queue()).head_segment->is_large(); };
    crash::Scenario scenario{
        .name = "get that shrinks the queue",
        .prepare =
            [&] {
              fresh.prepare({std::string(2'500'000, 'x'), "the last"});
              fresh.take(1);
              require(is_large(), "it is not large");
            },
        .operation = [&] { static_cast<void>(fresh.queue().get()); },
        .check =
            [&](const Moment& moment) {
              require(!moment.completed || !is_large(), "it is as large as before");
              return fresh.outcome_of_get(moment);
            },
        .expected = {before, behind},
        .watch = [&] { return crash::memory_of_family(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 2s);

    scenario.name = "put after a killed get that shrinks the queue";
    scenario.at = At::every_change;
    scenario.check = [&](const Moment& moment) {
      const std::vector<std::string> found = drain(fresh.queue());
      std::string outcome;
      for (const std::string& item : found) outcome += item + '.';
      const bool was_taken = !outcome.starts_with("the last.");
      require(was_taken || !moment.first_completed,
              "get() returned and the message is still there");
      require(outcome.ends_with("one more.") || !moment.completed,
              "put() returned and the message is lost");
      fresh.queue().put("again");
      require(drain(fresh.queue()).size() == 1, "the queue does not work");
      return outcome.empty() ? "nothing" : outcome;
    };
    scenario.expected = {};
    scenario.possible = {"nothing", "the last.", "one more.", "the last.one more."};
    scenario.recovery = [&] { fresh.queue().put("one more"); };
    scenario.budget = 4s;
    crash::prove(scenario);
    fresh.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("whoever grows the queue is stopped, and goes on later") {
    Fresh<int> fresh;
    crash::prove({
        .name = "put that grows the queue",
        .prepare = [&] { fresh.prepare(numbers(first_ring)); },
        .operation = [&] { fresh.queue().put(-1); },
        .check = [&](const Moment&) -> std::string {
          auto items = numbers(first_ring);
          items.erase(items.begin());
          items.push_back(-1);
          require(drain(fresh.queue()) == items, "messages are lost, or came twice");
          return behind;
        },
        .expected = {behind},
        .with = With::stop,
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .while_stopped = [&] { require(fresh.queue().get() == 0, "a message is lost"); },
    });
  }
}
