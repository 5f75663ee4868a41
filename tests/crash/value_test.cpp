// SPDX-License-Identifier: BSL-1.0

// Whoever changes a Value is killed or stopped at every instruction: the value is the old one or the new
// one, never half of each, and it can be read at any time and changed again by the others.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/log.hpp>
#include <kin/value.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string old_one = "the old value";
const std::string new_one = "the new value";

template <std::size_t size>
struct Words {
  std::array<long, size> words;

  static Words of(long number) {
    Words all{};
    all.words.fill(number);
    return all;
  }
  /// The number that all of it is.
  [[nodiscard]] long number() const {
    require(std::ranges::count(words, words[0]) == static_cast<std::ptrdiff_t>(size),
            "half a value");
    return words[0];
  }
};
using Record = Words<5>;

long number_of(long number) { return number; }
template <std::size_t size>
long number_of(const Words<size>& words) {
  return words.number();
}

/// A value that is 1, and is made 2.
template <typename T>
struct Fresh {
  std::optional<kin::Value<T>> value = std::nullopt;

  static T of(long number) {
    if constexpr (std::is_same_v<T, long>) {
      return number;
    } else {
      return T::of(number);
    }
  }

  void prepare() {
    sweep_the_dead();
    kin::set_log_level(kin::LogLevel::off);  // it has a warning in every second round
    value.emplace(of(1));
  }
  /// Whatever happened, it is 1 or 2.
  [[nodiscard]] long look() const {
    const long number = number_of(value->load());
    require(number == 1 || number == 2, "it is neither the old nor the new one");
    return number;
  }
  void require_to_work() const {
    for (long number = 3; number < 6; ++number) {
      value->store(of(number));
      require(number_of(value->load()) == number, "it does not store");
      value->with([&](T& whole) { whole = of(number + 10); });
      require(number_of(value->exchange(of(1))) == number + 10, "with() does not change it");
      sweep_the_dead();
    }
    require(!value->get_lock().locked(), "its lock was left locked");
  }
  [[nodiscard]] std::string outcome(const Moment& moment) const {
    // To read it waits for nobody, and so comes before its lock was taken over.
    const long number = look();
    require(number == 2 || !moment.completed, "what was changed is gone");
    require(value->get_lock().try_lock_for(5s), "its lock can't be taken");
    require(look() == number, "it changed by itself");
    value->get_lock().unlock();
    require_to_work();
    return number == 2 ? new_one : old_one;
  }
};

template <typename T>
crash::Scenario killed_in(const std::string& name, Fresh<T>& fresh,
                          std::function<void()> operation) {
  return {
      .name = name,
      .prepare = [&] { fresh.prepare(); },
      .operation = std::move(operation),
      .check = [&](const Moment& moment) { return fresh.outcome(moment); },
      .expected = {old_one, new_one},
  };
}

}  // namespace

TEST_SUITE("value") {
  TEST_CASE("a struct is stored") {
    const crash::Balance balance;
    Fresh<Record> fresh;
    crash::prove(
        killed_in("Value of 40 B: store", fresh, [&] { fresh.value->store(Record::of(2)); }));
    fresh.value.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a large struct is stored") {
    const crash::Balance balance;
    Fresh<Words<100>> fresh;
    auto scenario =
        killed_in("Value of 800 B: store", fresh, [&] { fresh.value->store(Words<100>::of(2)); });
    scenario.budget = 4s;
    crash::prove(scenario);
    fresh.value.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a function changes it") {
    Fresh<Record> fresh;
    crash::prove(killed_in("Value of 40 B: with", fresh, [&] {
      fresh.value->with([](Record& record) {
        for (long& word : record.words) ++word;
      });
    }));
  }

  TEST_CASE("a number is added to") {
    Fresh<long> fresh;
    crash::prove(
        killed_in("Value of a number: fetch_add", fresh, [&] { fresh.value->fetch_add(1); }));
  }

  TEST_CASE("it is compared and exchanged") {
    Fresh<long> fresh;
    crash::prove(killed_in("Value of a number: compare_exchange", fresh, [&] {
      long expected = 1;
      require(fresh.value->compare_exchange(expected, 2), "it is not what it was");
    }));
  }

  TEST_CASE("others change it at the same time") {
    Fresh<long> fresh;
    crash::prove({
        .name = "Value of a number: fetch_add beside others",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.value->fetch_add(1000); },
        .check =
            [&](const Moment& moment) {
              const long number = fresh.value->load();
              const long by_others = static_cast<long>(moment.partner_turns);
              const bool is_there = number == 1 + by_others + 1000;
              require(is_there || number == 1 + by_others, "an addition was lost, or came twice");
              require(is_there || !moment.completed, "what was added is gone");
              fresh.require_to_work();
              return is_there ? new_one : old_one;
            },
        .expected = {old_one, new_one},
        .partner = [&] { fresh.value->fetch_add(1); },
        .partner_every = 4,
    });
  }

  TEST_CASE("whoever changes it is stopped, and goes on later") {
    Fresh<Record> fresh;
    auto scenario =
        killed_in("Value of 40 B: store", fresh, [&] { fresh.value->store(Record::of(2)); });
    scenario.expected = {new_one};
    scenario.with = With::stop;
    scenario.while_stopped = [&] { static_cast<void>(fresh.look()); };
    crash::prove(scenario);
  }

  TEST_CASE("whoever takes over from a killed one is killed too") {
    Fresh<Record> fresh;
    auto scenario = killed_in("Value of 40 B: store after a killed store", fresh,
                              [&] { fresh.value->store(Record::of(2)); });
    scenario.check = [&](const Moment& moment) {
      require(fresh.look() == 2 || !moment.completed, "what was stored is gone");
      return fresh.outcome({});
    };
    scenario.at = At::every_change;
    scenario.watch = [&] {
      return crash::Ranges{
          {reinterpret_cast<const std::byte*>(&crash::object_of(*fresh.value)), 512}};
    };
    scenario.recovery = [&] { fresh.value->store(Record::of(2)); };
    scenario.budget = 4s;
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    crash::prove(scenario);
  }

  TEST_CASE("its lock is held when its holder is killed") {
    Fresh<Record> fresh;
    auto scenario = killed_in("Value of 40 B: store with its lock held", fresh, [&] {
      const std::scoped_lock guard(fresh.value->get_lock());
      fresh.value->store(Record::of(2));
    });
    scenario.check = [&](const Moment& moment) {
      const kin::detail::LockHandle& lock = fresh.value->get_lock();
      const long number = fresh.look();
      lock.lock();
      const bool was_told = lock.owner_died();
      lock.unlock();
      require(!was_told || !moment.completed, "told of a death that was none");
      static_cast<void>(fresh.outcome(moment));
      return std::string(number == 2 ? new_one : old_one) + (was_told ? ", and told" : "");
    };
    scenario.expected = {old_one, old_one + ", and told", new_one + ", and told", new_one};
    crash::prove(scenario);
  }
}
