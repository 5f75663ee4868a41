// SPDX-License-Identifier: BSL-1.0

// Managers with many clients, many objects, and much in them; and the count that fifty processes take from.

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

/// Runs in so many processes at once, and ends with them.
class Crowd {
 public:
  Crowd(int size, const std::function<void()>& work) {
    for (int i = 0; i < size; ++i) {
      members_.emplace_back(kin::ProcessOptions{.daemon = true}, work);
      members_.back().start();
    }
  }
  /// How many ended well.
  [[nodiscard]] int count_done() {
    int done = 0;
    for (kin::Process& one : members_) {
      if (one.join_for(unit::patience) && one.exit_code() == 0) ++done;
    }
    return done;
  }

 private:
  std::list<kin::Process> members_;
};

using Counts = kin::managed::Dict<int, int>;
constexpr int processes = 50;

/// Each of fifty processes takes one away from each of so many counts of 100. How many of these are 50 in the end.
std::ptrdiff_t right_of(int counts, const kin::Manager& manager,
                        void (*take_one)(const Counts& all, int which,
                                         const kin::managed::Lock& lock)) {
  std::vector<std::pair<int, int>> items;
  for (int which = 0; which < counts; ++which) items.emplace_back(which, 100);
  const Counts all = manager.dict<int, int>(items);
  const auto lock = manager.lock();
  const auto begin = manager.event();
  Crowd crowd(processes, [&] {
    begin.wait();
    for (int which = 0; which < counts; ++which) take_one(all, which, lock);
  });
  begin.set();
  CHECK(crowd.count_done() == processes);
  return std::ranges::count(all.values(), 100 - processes);
}

/// A list of dictionaries of lists of …
template <int depth>
struct Nest {
  using Inner = typename Nest<depth - 1>::Type;
  static constexpr bool is_list = depth % 2 == 0;
  using Type = std::conditional_t<is_list, kin::managed::List<Inner>,
                                  kin::managed::Dict<std::string, Inner>>;

  static Type make(const kin::Manager& manager) {
    const Inner inner = Nest<depth - 1>::make(manager);
    if constexpr (is_list) {
      return manager.list<Inner>({inner});
    } else {
      return manager.dict<std::string, Inner>({{"inner", inner}});
    }
  }
  static kin::managed::List<int> innermost(const Type& all) {
    if constexpr (is_list) {
      return Nest<depth - 1>::innermost(all.get(0));
    } else {
      return Nest<depth - 1>::innermost(all.get("inner"));
    }
  }
};
template <>
struct Nest<0> {
  using Type = kin::managed::List<int>;
  static Type make(const kin::Manager& manager) { return manager.list<int>(); }
  static Type innermost(const Type& all) { return all; }
};

/// Goes through all orders of so many.
template <std::size_t size>
void in_every_order(const std::function<void(const std::array<std::size_t, size>&)>& function) {
  std::array<std::size_t, size> order{};
  std::iota(order.begin(), order.end(), 0);
  do {
    function(order);
  } while (std::ranges::next_permutation(order).found);
}

}  // namespace

TEST_SUITE("manager scale") {
  using namespace unit;

  TEST_CASE("fifty processes take from a count: with a lock it is right a thousand times") {
    const Frame frame;
    const kin::Manager manager;
    CHECK(right_of(1000, manager, [](const Counts& all, int which, const kin::managed::Lock& lock) {
            const std::scoped_lock guard(lock);
            all[which] -= 1;
          }) == 1000);
  }

  TEST_CASE("fifty processes take from a count: with modify() it is right a thousand times") {
    const Frame frame;
    const kin::Manager manager;
    CHECK(right_of(1000, manager,
                   [](const Counts& all, int which, const kin::managed::Lock& /*lock*/) {
                     all.modify(which, [](int& count) { --count; });
                   }) == 1000);
  }

  TEST_CASE("fifty processes take from a count: without a lock it is wrong, before long") {
    const Frame frame;
    const kin::Manager manager;
    constexpr int counts = 200;
    CHECK(eventually([&] {
      return right_of(counts, manager,
                      [](const Counts& all, int which, const kin::managed::Lock& /*lock*/) {
                        all[which] -= 1;
                      }) < counts;
    }));
  }

  TEST_CASE("a thousand clients call, wait, and go on") {
    constexpr int clients = 1000;
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const auto event = manager.event();
    Crowd crowd(clients, [&] {
      number.apply([](int& it) { ++it; });
      event.wait();
      number.apply([](int& it) { ++it; });
    });
    CHECK(eventually([&] { return manager.statistics().parked == clients; }));
    CHECK(manager.statistics().clients == clients + 1);
    CHECK(number.copy() == clients);
    event.set();
    CHECK(crowd.count_done() == clients);
    CHECK(number.copy() == 2 * clients);
    const kin::ManagerStatistics after = manager.statistics();
    CHECK(after.clients == 1);
    CHECK(after.parked == 0);
  }

  TEST_CASE("a dictionary with a million entries") {
    constexpr int entries = 1'000'000;
    const Frame frame;
    const kin::Manager manager;
    std::vector<std::pair<int, int>> items;
    for (int i = 0; i < entries; ++i) items.emplace_back(i, 2 * i);
    const auto all = manager.dict<int, int>(items);
    CHECK(all.size() == entries);
    CHECK(all.get(entries - 1) == 2 * (entries - 1));
    CHECK_FALSE(all.contains(entries));
    all[entries] = 7;
    CHECK(all.pop(0) == 0);
    all.modify(1, [](int& value) { value += 5; });
    CHECK(all.items().front() == std::pair{1, 7});
    const std::vector<int> values = all.values();
    CHECK(values.size() == entries);
    // 0 + 2 + … , and what was changed.
    CHECK(std::accumulate(values.begin(), values.end(), std::int64_t{0}) ==
          std::int64_t{entries} * (entries - 1) + 7 + 5);
  }

  TEST_CASE("a list of dictionaries of lists, ten deep") {
    const Frame frame;
    const kin::Manager manager;
    {
      const Nest<10>::Type outermost = Nest<10>::make(manager);
      CHECK(manager.statistics().objects == 11);
      Nest<10>::innermost(outermost).append(5);
      const Nest<10>::Type same = outermost;  // NOLINT(performance-unnecessary-copy-initialization)
      CHECK(answer_of([&] {
              Nest<10>::innermost(same).append(6);
              return "done";
            }) == "done");
      CHECK(Nest<10>::innermost(outermost).copy() == std::vector{5, 6});
      CHECK(manager.statistics().objects == 11);
    }
    CHECK(eventually([&] { return manager.statistics().objects == 0; }));
  }

  TEST_CASE("references are dropped in every order, and nothing is left") {
    using Leaf = kin::managed::List<int>;
    using Branch = kin::managed::List<Leaf>;
    using Tree = kin::managed::Dict<int, Branch>;
    const Frame frame;
    const kin::Manager manager;
    in_every_order<5>([&](const std::array<std::size_t, 5>& order) {
      std::optional<Leaf> leaf(manager.list<int>({1}));
      std::optional<Leaf> same(*leaf);
      std::optional<Branch> left(manager.list<Leaf>({*leaf}));
      std::optional<Branch> right(manager.list<Leaf>({*leaf, *leaf}));
      std::optional<Tree> tree(manager.dict<int, Branch>({{0, *left}, {1, *right}}));
      for (const std::size_t which : order) {
        switch (which) {
          case 0: leaf.reset(); break;
          case 1: same.reset(); break;
          case 2: left.reset(); break;
          case 3: right.reset(); break;
          default: tree.reset();
        }
        // What is still referred to is there, and nothing else.
        const bool has_left = left || tree;
        const bool has_right = right || tree;
        const bool has_leaf = leaf || same || has_left || has_right;
        const std::size_t objects =
            (tree ? 1U : 0U) + (has_left ? 1U : 0U) + (has_right ? 1U : 0U) + (has_leaf ? 1U : 0U);
        CHECK(manager.statistics().objects == objects);
        if (tree) CHECK(tree->get(1).get(-1).copy() == std::vector{1});
      }
    });
    CHECK(manager.statistics().objects == 0);
  }

  TEST_CASE("processes drop references in every order, and nothing is left") {
    using Leaf = kin::managed::List<int>;
    using Branch = kin::managed::List<Leaf>;
    constexpr std::size_t holders = 3;
    const Frame frame;
    const kin::Manager manager;
    // One for each holder; a message from it says that it did.
    std::array<kin::Queue<Branch>, holders> given;
    std::array<kin::Queue<int>, holders> asked;
    const kin::Queue<int> done;
    std::list<Relative> processes_with_one;
    for (std::size_t i = 0; i < holders; ++i) {
      processes_with_one.emplace_back([&, i] {
        while (true) {
          std::optional<Branch> held;
          try {
            held = given[i].get();
          } catch (const kin::QueueShutDown&) {
            return "ended";
          }
          done.put(1);
          if (asked[i].get() == 2) held->append(held->get(0));
          held.reset();
          done.put(1);
        }
      });
    }
    in_every_order<holders>([&](const std::array<std::size_t, holders>& order) {
      {
        const Branch branch = manager.list<Leaf>({manager.list<int>({1})});
        for (const auto& queue : given) queue.put(branch);
        for (std::size_t i = 0; i < holders; ++i) CHECK(done.get_for(patience) == 1);
      }
      for (const std::size_t which : order) {
        CHECK(manager.statistics().objects == 2);
        asked[which].put(which == 1 ? 2 : 1);
        CHECK(done.get_for(patience) == 1);
      }
      CHECK(manager.statistics().objects == 0);
    });
    for (std::size_t i = 0; i < holders; ++i) given[i].shutdown();
    for (Relative& one : processes_with_one) CHECK(one.answer() == "ended");
  }
}
