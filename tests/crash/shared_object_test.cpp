// SPDX-License-Identifier: BSL-1.0

// Whoever changes a shared object, repairs or replaces it, is killed or stopped at every step: the others
// are told if it may be half changed, until it is repaired; and in the end all of its memory is there.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <kin/error.hpp>
#include <kin/shared_object.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <string>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string whole_old = "as it was";
const std::string whole_new = "changed";
const std::string poisoned = "poisoned";
const std::string long_text(100, 'x');

/// What is in it is whole if both numbers are the same.
struct Pair {
  explicit Pair(int number = 1) : first(number), second(number) {}
  int first;
  int second;
  kin::SharedVector<kin::SharedString> texts;

  void change() {
    first = 2;
    second = 2;
  }
};

struct Fresh {
  std::optional<kin::SharedObject<Pair>> pair = std::nullopt;
  const void* place = nullptr;

  void prepare() {
    pair.reset();
    sweep_the_dead();
    pair.emplace();
    pair->with([&](Pair& p) {
      p.texts.emplace_back(long_text);
      place = &p;
    });
  }
  /// It was poisoned by a killed process, and nobody has met that yet.
  void prepare_poisoned() {
    prepare();
    crash::Bystander killed([&]() -> std::string {
      pair->with([](Pair& p) {
        p.first = 7;
        ::raise(SIGKILL);
      });
      return "it lives";
    });
    require(killed.ends_by(crash::Clock::now() + 5s), "it was not killed");
  }

  [[nodiscard]] std::optional<int> number() const {
    try {
      return pair->read([](const Pair& p) -> int {
        require(p.first == p.second, "half changed, and nobody was told");
        for (const auto& text : p.texts) {
          require(std::string_view(text) == long_text, "a text is another");
        }
        return p.first;
      });
    } catch (const kin::OwnerDied&) {
      return std::nullopt;
    }
  }
  /// Works, and gives back its memory.
  void require_to_work() const {
    const crash::Balance balance;
    pair->with([](Pair& p) {
      p.change();
      p.texts.emplace_back(long_text);
      p.texts.pop_back();
      p.texts.shrink_to_fit();
    });
    require(number() == 2, "it does not work");
    // A region keeps nothing that was freed.
    pair->replace(3);
    require(number() == 3, "it can't be replaced");
    require(pair->try_with([](Pair& p) { p.change(); }), "its lock was left locked");
  }
  std::string outcome(const Moment& moment) const {
    const bool is_poisoned = pair->is_poisoned();
    const std::optional<int> found = number();
    require(found.has_value() != is_poisoned, "is_poisoned() says otherwise");
    require(!moment.completed || found == 2, "what was changed is gone");
    require(!is_poisoned || number() == std::nullopt, "told once, and not again");
    if (is_poisoned) {
      pair->replace(1);
      require(!pair->is_poisoned() && number() == 1, "it is poisoned though it was replaced");
    }
    require_to_work();
    return is_poisoned ? poisoned : found == 2 ? whole_new : whole_old;
  }
  crash::Ranges watch() const {
    const kin::detail::Object& object = crash::object_of(*pair);
    return {{reinterpret_cast<const std::byte*>(&object), 256},
            crash::memory_of(*kin::detail::arena().heap),
            crash::chunk_around(place)};
  }
};

}  // namespace

TEST_SUITE("shared_object") {
  TEST_CASE("a function changes it") {
    const crash::Balance balance;
    Fresh fresh;
    crash::prove({
        .name = "SharedObject: with",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.pair->with([](Pair& p) { p.change(); }); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {whole_old, whole_new, poisoned},
    });
    fresh.pair.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a function looks at it") {
    Fresh fresh;
    crash::prove({
        .name = "SharedObject: read",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.pair->read([](const Pair& p) { return p.first; }); },
        .check = [&](const Moment&) { return fresh.outcome({}); },
        .expected = {whole_old},
    });
  }

  TEST_CASE("containers in it allocate and free") {
    const crash::Balance balance;
    Fresh fresh;
    crash::Scenario scenario{
        .name = "SharedObject: with, that allocates and frees",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              fresh.pair->with([](Pair& p) {
                p.texts.emplace_back(long_text);
                p.texts.erase(p.texts.begin());
                p.change();
              });
            },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {whole_old, whole_new, poisoned},
        .watch = [&] { return fresh.watch(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 4s);
    fresh.pair.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("it is replaced") {
    const crash::Balance balance;
    Fresh fresh;
    crash::Scenario scenario{
        .name = "SharedObject: replace",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.pair->replace(2); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {whole_old, whole_new},
        .watch = [&] { return fresh.watch(); },
    };
    crash::prove_at_changes_and_instructions(scenario, 4s);
    fresh.pair.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a poisoned one is replaced") {
    const crash::Balance balance;
    Fresh fresh;
    crash::prove({
        .name = "SharedObject: replace of a poisoned one",
        .prepare = [&] { fresh.prepare_poisoned(); },
        .operation = [&] { fresh.pair->replace(2); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {poisoned, whole_new},
        .budget = 6s,
    });
    fresh.pair.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a poisoned one is repaired") {
    Fresh fresh;
    crash::prove({
        .name = "SharedObject: repair",
        .prepare = [&] { fresh.prepare_poisoned(); },
        .operation =
            [&] { require(fresh.pair->repair([](Pair& p) { p.change(); }), "it is not poisoned"); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {poisoned, whole_new},
        .budget = 6s,
    });
  }

  TEST_CASE("whoever changes it is stopped, and goes on later") {
    Fresh fresh;
    crash::prove({
        .name = "SharedObject: with",
        .prepare = [&] { fresh.prepare(); },
        .operation = [&] { fresh.pair->with([](Pair& p) { p.change(); }); },
        .check = [&](const Moment& moment) { return fresh.outcome(moment); },
        .expected = {whole_new},
        .with = With::stop,
        .while_stopped =
            [&] {
              const auto number = fresh.pair->try_with([](Pair& p) {
                require(p.first == p.second, "the lock was taken from a stopped process");
                return p.first;
              });
              require(!number || *number == 1 || *number == 2, "it is neither");
            },
    });
  }

  TEST_CASE("whoever meets the death first is killed too") {
    Fresh fresh;
    crash::Scenario scenario{
        .name = "SharedObject: with, after one that was killed in it",
        .prepare = [&] { fresh.prepare(); },
        .operation =
            [&] {
              fresh.pair->with([](Pair& p) {
                p.first = 2;
                p.texts.emplace_back(long_text);
                p.second = 2;
              });
            },
        .check =
            [&](const Moment& moment) {
              const bool is_poisoned = fresh.pair->is_poisoned();
              require(!moment.completed || !is_poisoned, "it was replaced, and is poisoned");
              return fresh.outcome({});
            },
        .expected = {whole_new, poisoned},
        .possible = {whole_old},
        .at = At::every_change,
        .watch = [&] { return fresh.watch(); },
        .recovery =
            [&] {
              try {
                fresh.pair->with([](Pair& p) { p.change(); });
              } catch (const kin::OwnerDied&) {
                fresh.pair->replace(2);
              }
            },
        .budget = 6s,
    };
    crash::prove(scenario);
  }
}
