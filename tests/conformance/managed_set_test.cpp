// SPDX-License-Identifier: BSL-1.0
//
// A manager's set, used by a child, against the rows of sets in CPython's TestSyncManagerTypes.
//
// Fails when:
//   SetWork::intersect() gives the difference: test_set, test_set_contain_all_method
//   SetWork::compare() mistakes less for greater: test_set_comparisons

#include "trial.hpp"

#include <set>
#include <sstream>

using namespace trial;

namespace {

using Plain = std::set<std::string>;
using Set = kin::managed::Set<std::string>;

const Plain abc{"a", "b", "c"};

// A child that does something with the set, and has to end well.
template <typename Work>
void expect_of_child(const Set& set, Work work) {
  CHECK(outcome([=] { work(set); }) == 0);
}

// It is the same set afterwards, with other elements.
void expect_in_place(const Set& set, const Set& result, const Plain& elements) {
  expect(static_cast<const kin::Proxy<Plain>&>(set) == result);
  expect(set.copy() == elements);
  set.clear();
  set.update(abc);
}

bool refuses_missing(const std::function<void()>& call) {
  try {
    call();
    return false;
  } catch (const std::out_of_range&) {
    return true;
  }
}

template <typename T>
concept MakesASet = requires(const kin::Manager& manager, T from) { manager.set<int>(from); };

}  // namespace

TEST_SUITE("sync_manager_types") {
  TEST_CASE_FIXTURE(Trial, "test_set") {
    const kin::Manager manager;
    const Set set = manager.set<std::string>();
    expect_of_child(set, [](const Set& obj) {
      obj.update(abc);
      expect(obj.size() == 3);
      expect(obj.contains("a"));
      expect(!obj.contains("d"));
      expect((obj | Plain{"d", "e"}) == Plain{"a", "b", "c", "d", "e"});
      expect((Plain{"d", "e"} | obj) == Plain{"a", "b", "c", "d", "e"});
      expect((obj & Plain{"a", "f"}) == Plain{"a"});
      expect((Plain{"a", "f"} & obj) == Plain{"a"});
      expect((obj - Plain{"b"}) == Plain{"a", "c"});
      expect((Plain{"a", "d"} - obj) == Plain{"d"});
      expect((obj ^ Plain{"a", "d"}) == Plain{"b", "c", "d"});
      expect((Plain{"a", "d"} ^ obj) == Plain{"b", "c", "d"});
      expect(obj.copy() == abc);

      expect_in_place(obj, obj |= Plain{"d"}, {"a", "b", "c", "d"});
      expect_in_place(obj, obj &= Plain{"a", "d"}, {"a"});
      expect_in_place(obj, obj -= Plain{"a", "d"}, {"b", "c"});
      expect_in_place(obj, obj ^= Plain{"a", "d"}, {"b", "c", "d"});
    });
    CHECK(set.copy() == abc);
  }

  TEST_CASE_FIXTURE(Trial, "test_set_comparisons") {
    const kin::Manager manager;
    expect_of_child(manager.set(abc), [](const Set& obj) {
      expect(obj == abc);
      expect(obj != Plain{"a", "b"});
      expect(obj <= abc);
      expect(obj >= abc);
      expect(obj < Plain{"a", "b", "c", "d"});
      expect(obj > Plain{"a", "b"});
      expect(!(obj < abc));
      expect(!(obj > abc));
      // Neither is part of the other.
      const Plain other{"a", "b", "z"};
      expect(!(obj <= other) && !(obj >= other) && obj != other);
      expect(obj.issubset(Plain{"a", "b", "c", "d"}));
      expect(!obj.issubset(other));
      expect(obj.issuperset(Plain{"a"}));
      expect(!obj.issuperset(other));
      expect(obj.isdisjoint(Plain{"x", "y"}));
      expect(!obj.isdisjoint(other));
    });
  }

  TEST_CASE_FIXTURE(Trial, "test_set_contain_all_method") {
    const kin::Manager manager;
    const Set set = manager.set(abc);
    expect_of_child(set, [](const Set& obj) {
      expect(obj.add("d"));
      expect(!obj.add("d"));
      obj.remove("d");
      expect(refuses_missing([&] { obj.remove("d"); }));
      expect(!obj.discard("d"));
      expect(obj.discard("c"));
      expect(obj.copy() == Plain{"a", "b"});
      expect(obj.union_with(abc) == abc);
      expect(obj.intersection(Plain{"b", "x"}) == Plain{"b"});
      expect(obj.difference(Plain{"b", "x"}) == Plain{"a"});
      expect(obj.symmetric_difference(Plain{"b", "x"}) == Plain{"a", "x"});
      obj.symmetric_difference_update(Plain{"b", "x"});
      obj.intersection_update(Plain{"a", "x", "z"});
      obj.difference_update(Plain{"z", "x"});
      expect(obj.copy() == Plain{"a"});
      std::ostringstream text;
      text << obj;
      expect(text.str() == R"({"a"})");
      Plain seen;
      for (const std::string& one : obj) seen.insert(one);
      expect(seen == Plain{"a"});
      expect(obj.pop() == "a");
      expect(refuses_missing([&] { obj.pop(); }));
      obj.add("b");
      obj.clear();
    });
    CHECK(set.empty());
  }

  // What is nothing that one can go through is an error of the compiler's.
  TEST_CASE_FIXTURE(Trial, "test_set_init") {
    const kin::Manager manager;
    CHECK(manager.set(abc).copy() == abc);
    CHECK(manager.set<std::string>(std::vector<std::string>{"c", "b", "a", "b"}).copy() == abc);
    const auto dict = manager.dict<std::string, int>({{"a", 1}, {"b", 2}, {"c", 3}});
    CHECK(manager.set<std::string>(dict.keys()).copy() == abc);
    static_assert(MakesASet<std::vector<int>> && !MakesASet<int>);
  }
}
