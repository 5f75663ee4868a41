// SPDX-License-Identifier: BSL-1.0

#include <kin/shared_object.hpp>

#include "arena_frame.hpp"
#include "support/sanitizer.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <any>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <queue>
#include <random>
#include <shared_mutex>
#include <stack>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <csignal>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using kin::SharedMap;
using kin::SharedObject;
using kin::SharedString;
using kin::SharedVector;
using namespace std::chrono_literals;

namespace {

struct Counts {
  int begun = 0;
  int ended = 0;
};

struct Table {
  SharedMap<SharedString, SharedVector<SharedString>> words;
  SharedVector<int> numbers;
  Counts counts;
};

// Longer than what a string keeps in itself.
const std::string long_word = "a word that is too long for a string to keep it in itself";

static_assert(std::is_copy_constructible_v<SharedObject<Table>>);
static_assert(kin::Sendable<SharedObject<Counts>>);
static_assert(kin::detail::may_be_shared<Table>());
static_assert(!kin::detail::may_be_shared<std::string>());
static_assert(!kin::detail::may_be_shared<SharedVector<std::string>>());
static_assert(!kin::detail::may_be_shared<std::pair<int, std::unique_ptr<int>>>());
static_assert(!kin::detail::may_be_shared<std::optional<int*>>());

template <typename T>
struct Holds {
  T one;
  int number;
};
template <typename T>
concept MayBeShared = kin::detail::may_be_shared<T>() && kin::detail::may_be_shared<Holds<T>>();
template <typename T>
concept MayNotBeShared =
    !kin::detail::may_be_shared<T>() && !kin::detail::may_be_shared<Holds<T>>();

static_assert(MayBeShared<const SharedString>);
static_assert(MayBeShared<std::atomic<int>>);
static_assert(MayBeShared<std::stack<int, SharedVector<int>>>);
static_assert(MayNotBeShared<const std::string>);
static_assert(MayNotBeShared<std::queue<int>>);
static_assert(MayNotBeShared<std::mutex>);
static_assert(MayNotBeShared<std::shared_mutex>);
static_assert(MayNotBeShared<std::condition_variable_any>);
static_assert(MayNotBeShared<kin::Lock>);
// With one as a member a struct's members can't be counted.
static_assert(!kin::detail::may_be_shared<std::any>());
static_assert(!kin::detail::may_be_shared<std::unique_ptr<int, void (*)(int*)>>());

// What with() may return.
template <typename T>
concept MayLeave = !kin::detail::lies_in_shared_memory<T>();
static_assert(MayLeave<Holds<std::string>>);
static_assert(MayLeave<std::vector<Holds<double>>>);
static_assert(!MayLeave<Table>);
static_assert(!MayLeave<std::optional<SharedString>>);
static_assert(!MayLeave<std::vector<SharedString>>);
static_assert(!MayLeave<std::string_view>);
static_assert(!MayLeave<Holds<SharedVector<int>::const_iterator>>);

// A process that dies in with(), with `begun` and without `ended`.
void die_in(const SharedObject<Counts>& counts) {
  CHECK(unit::answer_of([&]() -> std::string {
          counts.with([](Counts& c) {
            ++c.begun;
            ::raise(SIGKILL);
          });
          return "it lives";
        }).starts_with("failed"));
}

}  // namespace

TEST_SUITE("shared_object") {
  TEST_CASE("what one process does to it the others see") {
    const unit::ArenaFrame frame;
    const SharedObject<Table> table;
    CHECK(unit::answer_of([&] {
            table.with([](Table& t) {
              for (int i = 0; i < 100; ++i) {
                t.words["a"].emplace_back(long_word);
                t.words[SharedString(long_word)].emplace_back("x");
                t.numbers.push_back(i);
              }
            });
            return "done";
          }) == "done");
    table.read([](const Table& t) {
      REQUIRE(t.words.size() == 2);
      CHECK(t.words.find("a")->second.size() == 100);
      CHECK(std::string_view(t.words.find("a")->second.back()) == long_word);
      CHECK(t.words.find(long_word)->second.front() == "x");
      CHECK(std::accumulate(t.numbers.begin(), t.numbers.end(), 0) == 4950);
    });
    table.with([](Table& t) {
      t.words.erase("a");
      t.words.begin()->second.clear();
      t.numbers.shrink_to_fit();
    });
    CHECK(table.read([](const Table& t) { return t.words.size(); }) == 1);
  }

  TEST_CASE("all of its memory ends with it") {
    const unit::ArenaFrame frame;
    std::mt19937 random(7);
    for (int again = 0; again < 3; ++again) {
      const SharedObject<kin::SharedUnorderedMap<int, SharedString>> map;
      map.with([&](auto& m) {
        for (int i = 0; i < 3000; ++i) {
          const int key = static_cast<int>(random() % 500);
          if (random() % 3 == 0) {
            m.erase(key);
          } else {
            m[key] = SharedString(random() % 40'000, 'x');
          }
        }
      });
      const SharedObject<SharedVector<long>> numbers(std::size_t{100'000}, 7L);
      CHECK(numbers.read([](const auto& v) { return v.back(); }) == 7);
    }
    // The frame looks.
  }

  TEST_CASE("what its function returns is returned, what it throws passes") {
    const unit::ArenaFrame frame;
    const SharedObject<Counts> counts(Counts{.begun = 1, .ended = 2});
    CHECK(counts.with([](Counts& c) { return std::make_unique<int>(c.ended); }) != nullptr);
    static_assert(
        std::is_same_v<decltype(counts.with([](Counts& c) -> Counts& { return c; })), Counts>);
    static_assert(std::is_void_v<decltype(counts.read([](const Counts&) {}))>);
    CHECK_THROWS_WITH(counts.with([](Counts& c) {
      c.begun = 7;
      throw std::runtime_error("stop");
    }),
                      "stop");
    CHECK_FALSE(counts.is_poisoned());
    CHECK(counts.read([](const Counts& c) { return c.begun; }) == 7);
  }

  TEST_CASE("many change it, one at a time") {
    const unit::ArenaFrame frame;
    constexpr int times = 500;
    const SharedObject<SharedMap<SharedString, long>> counts;
    const auto add = [&] {
      for (int i = 0; i < times; ++i) {
        counts.with([&](auto& map) {
          ++map[SharedString("word " + std::to_string(i % 7))];
          // A block that comes and goes.
          const SharedString other(long_word);
          map["length"] = static_cast<long>(other.size());
        });
      }
      return "done";
    };
    {
      unit::Relative first(add);
      unit::Relative second(add);
      std::thread third(add);
      add();
      third.join();
      CHECK(first.answer() == "done");
      CHECK(second.answer() == "done");
    }
    long sum = 0;
    counts.read([&](const auto& map) {
      for (const auto& [word, count] : map) sum += word == "length" ? 0 : count;
    });
    CHECK(sum == 4L * times);
  }

  TEST_CASE("who does not want to wait does not") {
    const unit::ArenaFrame frame;
    const SharedObject<Counts> counts;
    const auto get = [](const Counts& c) { return c.begun; };
    CHECK(counts.try_with(get) == 0);
    CHECK(counts.with_for(-1s, get) == 0);
    CHECK(counts.try_with([](Counts& c) { c.begun = 1; }));
    counts.with([&](Counts&) {
      CHECK(unit::answer_of([&] {
              if (counts.try_with(get)) return "try_with had it";
              if (counts.with_for(1ms, get)) return "with_for had it";
              if (counts.try_with([](Counts&) {})) return "it had it, it said";
              return counts.is_poisoned() ? "poisoned" : "none";
            }) == "none");
      // This thread has it already.
      CHECK_THROWS_AS(counts.with(get), kin::DeadlockError);
      CHECK_THROWS_AS(counts.replace(), kin::DeadlockError);
      CHECK_FALSE(counts.try_with(get));
      CHECK_FALSE(counts.is_poisoned());
    });
    CHECK(counts.with(get) == 1);
  }

  TEST_CASE("killed in with(): everybody is told, until it is repaired") {
    const unit::ArenaFrame frame;
    const SharedObject<Counts> counts;
    die_in(counts);
    CHECK(counts.is_poisoned());
    for (int again = 0; again < 2; ++again) {
      CHECK_THROWS_AS(counts.with([](Counts&) {}), kin::OwnerDied);
      CHECK_THROWS_AS(static_cast<void>(counts.try_with([](Counts&) {})), kin::OwnerDied);
      CHECK_THROWS_AS(counts.read([](const Counts&) {}), kin::OwnerDied);
      CHECK(unit::answer_of([&] {
              try {
                counts.with([](Counts&) {});
              } catch (const kin::OwnerDied& died) {
                return died.pids().size() == 1 && died.count() == 1 ? "told" : "told wrongly";
              }
              return "not told";
            }) == "told");
    }
    // A repair that throws is none.
    CHECK_THROWS_WITH(counts.repair([](Counts&) { throw std::runtime_error("stop"); }), "stop");
    CHECK(counts.is_poisoned());
    CHECK(counts.repair([](Counts& c) { c.ended = c.begun; }));
    CHECK_FALSE(counts.is_poisoned());
    CHECK_FALSE(counts.repair([](Counts& c) { c.ended = 99; }));
    CHECK(counts.read([](const Counts& c) { return c.begun == 1 && c.ended == 1; }));
  }

  TEST_CASE("a poisoned one is replaced, and the memory of the old one is freed") {
    const unit::ArenaFrame frame;
    const SharedObject<Table> table;
    CHECK(unit::answer_of([&]() -> std::string {
            table.with([](Table& t) {
              for (int i = 0; i < 1000; ++i) t.words[SharedString(std::to_string(i))].resize(3);
              ::raise(SIGKILL);
            });
            return "it lives";
          }).starts_with("failed"));
    CHECK_THROWS_AS(table.read([](const Table&) {}), kin::OwnerDied);
    const auto before = kin::detail::Heap::statistics().cells;
    table.replace();
    CHECK(kin::detail::Heap::statistics().cells + 2000 <= before);
    CHECK_FALSE(table.is_poisoned());
    CHECK(table.read([](const Table& t) { return t.words.empty(); }));
    table.with([](Table& t) { t.words["new"].emplace_back(long_word); });
  }

  TEST_CASE("to replace it is all or nothing") {
    const unit::ArenaFrame frame;
    struct Picky {
      explicit Picky(int number) : numbers(100, number) {
        if (number == 0) throw std::invalid_argument("no zero");
      }
      SharedVector<int> numbers;
    };
    const SharedObject<Picky> picky(1);
    CHECK_THROWS_AS(picky.replace(0), std::invalid_argument);
    CHECK(picky.read([](const Picky& p) { return p.numbers.back(); }) == 1);
    picky.replace(2);
    CHECK(picky.read([](const Picky& p) { return p.numbers.back(); }) == 2);
    CHECK_THROWS_AS(SharedObject<Picky>(0), std::invalid_argument);
  }

  TEST_CASE("the child of a fork in it changes nothing when it comes out") {
    const unit::Frame frame;
    const pid_t parent = ::getpid();
    // In the child it returns at once, in the parent behind that.
    const auto fork_in_it = [] {
      const pid_t child = ::fork();
      if (child != 0) CHECK(::waitpid(child, nullptr, 0) == child);
    };
    const SharedObject<Counts> counts;
    die_in(counts);
    CHECK(counts.repair([&](Counts& /*broken*/) {
      fork_in_it();
      if (::getpid() == parent) CHECK(counts.is_poisoned());
    }));
    if (::getpid() != parent) ::_exit(0);
    CHECK_FALSE(counts.is_poisoned());

    struct Forking {
      Forking() = default;
      explicit Forking(const std::function<void()>& fork) : number(1) { fork(); }
      int number = 0;
    };
    const SharedObject<Forking> replaced;
    replaced.replace(fork_in_it);
    if (::getpid() != parent) ::_exit(0);
    CHECK(replaced.read([](const Forking& one) { return one.number; }) == 1);
    replaced.replace();
    CHECK(replaced.read([](const Forking& one) { return one.number; }) == 0);
  }

  TEST_CASE("killed in read(), or before and after with(), it is as it was") {
    const unit::ArenaFrame frame;
    const SharedObject<Counts> counts;
    CHECK(unit::answer_of([&]() -> std::string {
            counts.with([](Counts& c) { c.begun = c.ended = 1; });
            counts.read([](const Counts&) { ::raise(SIGKILL); });
            return "it lives";
          }).starts_with("failed"));
    CHECK_FALSE(counts.is_poisoned());
    CHECK(counts.read([](const Counts& c) { return c.begun; }) == 1);
  }

  TEST_CASE("a thread that ends in with() counts as killed") {
    if (support::is_sanitized) {
      std::puts("skipped: a sanitizer has to see the end of a thread");
      return;
    }
    const unit::ArenaFrame frame;
    const SharedObject<Counts> counts;
    pthread_t thread{};
    const auto body = [](void* object) -> void* {
      static_cast<const SharedObject<Counts>*>(object)->with([](Counts& c) {
        c.begun = 1;
        // Without unwinding, which would leave with() as an exception does.
        ::syscall(SYS_exit, 0);
      });
      return nullptr;
    };
    REQUIRE(::pthread_create(&thread, nullptr, body, const_cast<SharedObject<Counts>*>(&counts)) ==
            0);
    ::pthread_join(thread, nullptr);
    CHECK(counts.is_poisoned());
    counts.replace();
  }

  TEST_CASE("shared memory is allocated in with() only") {
    const unit::ArenaFrame frame;
    const SharedObject<SharedVector<SharedString>> words;
    CHECK_THROWS_AS(SharedString(long_word.c_str()), std::logic_error);
    CHECK_THROWS_AS(SharedVector<int>(10), std::logic_error);
    const SharedString brief("brief");
    words.with([&](auto& all) {
      all.push_back(brief);
      all.emplace_back(long_word);
      // A child of a fork in it does not have the lock.
      CHECK(unit::answer_of([&] {
              try {
                all.emplace_back(long_word);
              } catch (const std::logic_error&) {
                return "refused";
              }
              return "allocated";
            }) == "refused");
      bool is_refused = false;
      std::thread([&] {
        try {
          all.reserve(100);
        } catch (const std::logic_error&) {
          is_refused = true;
        }
      }).join();
      CHECK(is_refused);
    });
    CHECK(words.read([](const auto& all) { return all.size(); }) == 2);
  }

  TEST_CASE("what goes from one object to another is copied into its memory") {
    const unit::ArenaFrame frame;
    const SharedObject<SharedVector<SharedString>> to;
    {
      const SharedObject<SharedVector<SharedString>> from;
      from.with([](auto& all) { all.assign(5, SharedString(long_word)); });
      from.with([&](auto& source) {
        to.with([&](auto& target) {
          target = source;
          target.push_back(std::move(source[0]));
          target.insert(target.end(), source.begin() + 1, source.end());
          source.erase(source.begin());
          source.emplace_back(long_word + "!");
        });
        CHECK(source.size() == 5);
        to.with([&](auto& target) { target.emplace_back(std::move(source.back())); });
      });
      from.replace();
    }
    // What might be put where the other's memory was.
    const SharedObject<SharedVector<int>> other(std::size_t{1000}, 7);
    to.read([](const auto& all) {
      REQUIRE(all.size() == 11);
      for (std::size_t i = 0; i < 10; ++i) CHECK(std::string_view(all[i]) == long_word);
      CHECK(std::string_view(all[10]) == long_word + "!");
    });
  }

  TEST_CASE("what was carried out of it can be dropped anywhere") {
    const unit::ArenaFrame frame;
    const SharedObject<SharedVector<SharedString>> words;
    const SharedObject<SharedVector<int>> other;
    std::unique_ptr<SharedString> taken;
    words.with(
        [&](auto& all) { taken = std::make_unique<SharedString>(all.emplace_back(long_word)); });
    other.with([&](auto&) { taken.reset(); });
    words.with([&](auto& all) { taken = std::make_unique<SharedString>(std::move(all.back())); });
    CHECK(*taken == long_word.c_str());
    taken.reset();
  }

  TEST_CASE("it travels, and is the same object there") {
    const unit::ArenaFrame frame;
    const kin::Queue<SharedObject<Table>> objects;
    unit::Relative child([&] {
      const auto table = objects.get_for(unit::patience);
      if (!table) return "nothing came";
      table->with([](Table& t) { t.words["a"].emplace_back(long_word); });
      return "done";
    });
    const SharedObject<Table> table;
    objects.put(table);
    CHECK(child.answer() == "done");
    CHECK(table.read([](const Table& t) { return t.words.size(); }) == 1);
    objects.put(table);
    CHECK(objects.get() == table);
    CHECK_FALSE(table == SharedObject<Table>());
    SharedObject<Table> gone = table;
    const SharedObject<Table> taken = std::move(gone);
    // NOLINTNEXTLINE(bugprone-use-after-move): what is left is what is tested
    CHECK_THROWS_AS(gone.with([](Table&) {}), std::logic_error);
  }

  TEST_CASE("it lives as long as a process that inherited it, and no longer") {
    const unit::ArenaFrame frame;
    auto words = std::make_unique<SharedObject<SharedVector<SharedString>>>(std::size_t{100},
                                                                            SharedString("brief"));
    const kin::Queue<bool> go;
    unit::Relative child([&] {
      if (!go.get_for(unit::patience)) return "nobody let it go";
      words->with([](auto& all) { all.emplace_back(long_word); });
      return words->read([](const auto& all) { return all.size() == 101 && all[7] == "brief"; })
                 ? "all there"
                 : "something is gone";
    });
    words.reset();
    const SharedObject<SharedVector<SharedString>> other(std::size_t{100}, SharedString("other"));
    go.put(true);
    CHECK(child.answer() == "all there");
  }

  TEST_CASE("the last handle of one that is held: a warning, no harm") {
    const unit::Frame frame;
    std::vector<std::string> lines;
    kin::set_log_sink([&](kin::LogLevel, std::string_view line) { lines.emplace_back(line); });
    {
      auto counts = std::make_unique<SharedObject<Counts>>();
      counts->with([&](Counts& c) {
        counts.reset();
        c.begun = 1;
      });
    }
    kin::set_log_sink({});
    CHECK(lines.size() == 1);
    const SharedObject<Counts> another;
    another.with([](Counts& c) { c.begun = 2; });
  }

  TEST_CASE("without memory nothing is changed") {
    const unit::ArenaFrame frame;
    const SharedObject<SharedVector<char>> bytes(std::size_t{10}, 'x');
    CHECK_THROWS_AS(bytes.with([](auto& all) { all.resize(std::size_t{1} << 45); }),
                    std::bad_alloc);
    CHECK_THROWS_AS(bytes.replace(std::size_t{1} << 45, 'y'), std::bad_alloc);
    CHECK_FALSE(bytes.is_poisoned());
    CHECK(bytes.read([](const auto& all) { return all.size(); }) == 10);
  }
}
