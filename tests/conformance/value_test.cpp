// SPDX-License-Identifier: BSL-1.0
//
// Value and RawValue, against CPython's _TestValue, and what _TestSharedCTypes asks of single values.
// What is an argument lock=... there is a type or an argument here: RawValue is lock=False, and what is
// no lock does not compile.
//
// Fails when:
//   TwoCopies::store() fills the copy that counts: test_synchronize, test_copy
//   Value::store() and put_over() store nothing: test_value, test_synchronize
//   ChosenLock makes a lock of its own although one was passed: test_getobj_getlock

#include "trial.hpp"

#include <mutex>
#include <type_traits>

using namespace trial;

namespace {

struct Foo {
  int x = 0;
  double y = 0;
};

template <typename Any>
void expect_that_a_child_sets_it(Kind kind, typename Any::value_type first,
                                 typename Any::value_type second) {
  using T = typename Any::value_type;
  const Any value(first);
  const auto get = [&]() -> T {
    if constexpr (std::is_same_v<Any, kin::Value<T>>) {
      return value.load();
    } else {
      return value.get();
    }
  };
  CHECK(get() == first);
  Companion child(kind, [=] {
    if constexpr (std::is_same_v<Any, kin::Value<T>>) {
      expect(value.load() == first);
      value.store(second);
    } else {
      expect(value.get() == first);
      value.get() = second;
    }
  });
  CHECK(child.ends_well());
  CHECK(get() == second);
}

template <typename T>
concept HasLock = requires(const T& value) { value.get_lock(); };
template <typename Lock>
concept IsALockOfValues = std::is_constructible_v<kin::Value<int>, int, Lock>;

}  // namespace

TEST_SUITE("value") {
  TEST_CASE("test_value") {
    const Trial frame;
    const Kind kind = each_kind();
    expect_that_a_child_sets_it<kin::Value<int>>(kind, 24, 42);
    expect_that_a_child_sets_it<kin::Value<double>>(kind, -3.14, 2.71);
    expect_that_a_child_sets_it<kin::Value<short>>(kind, -232, 1234);
    expect_that_a_child_sets_it<kin::Value<long long>>(kind, 615'000'000'000, -7);
    expect_that_a_child_sets_it<kin::Value<char>>(kind, 'x', 'y');
  }

  TEST_CASE("test_rawvalue") {
    const Trial frame;
    const Kind kind = each_kind();
    expect_that_a_child_sets_it<kin::RawValue<int>>(kind, 24, 42);
    expect_that_a_child_sets_it<kin::RawValue<double>>(kind, -3.14, 2.71);
    expect_that_a_child_sets_it<kin::RawValue<short>>(kind, -232, 1234);
    expect_that_a_child_sets_it<kin::RawValue<long long>>(kind, 615'000'000'000, -7);
    expect_that_a_child_sets_it<kin::RawValue<char>>(kind, 'x', 'y');
  }

  TEST_CASE("test_getobj_getlock") {
    const Trial frame;
    const kin::Value<int> own(5);
    const kin::Value<int> other(5);
    CHECK_FALSE(own.get_lock() == other.get_lock());
    const std::scoped_lock guard(own.get_lock());
    // It is the one that the value itself takes.
    CHECK(outcome([own] { expect(!own.get_lock().try_lock()); }) == 0);

    const kin::Lock lock;
    const kin::Value<int> with_lock(5, lock);
    CHECK(with_lock.get_lock() == lock);
    const kin::RLock recursive;
    const kin::Value<int> with_recursive(5, recursive);
    CHECK(with_recursive.get_lock() == recursive);

    static_assert(HasLock<kin::Value<int>> && !HasLock<kin::RawValue<int>>);
    static_assert(IsALockOfValues<kin::Lock> && IsALockOfValues<kin::RLock>);
    static_assert(!IsALockOfValues<const char*> && !IsALockOfValues<bool>);
  }

  // _TestSharedCTypes
  TEST_CASE("test_synchronize") {
    const Trial frame;
    const kin::Lock lock;
    const kin::Value<int> x(7, lock);
    const kin::Value<double> y(1.0 / 3.0, lock);
    const kin::Value<long long> z(std::int64_t{1} << 33, lock);
    const kin::Value<Foo> foo(Foo{.x = 3, .y = 2}, lock);
    kin::Process doubler([=] {
      x.store(x.load() * 2);
      y.store(y.load() * 2);
      z.with([](long long& number) { number *= 2; });
      foo.with([](Foo& both) {
        both.x *= 2;
        both.y *= 2;
      });
    });
    doubler.start();
    CHECK(end_of(doubler) == 0);
    CHECK(x.load() == 14);
    CHECK(y.load() == 2.0 / 3.0);
    CHECK(z.load() == std::int64_t{1} << 34);
    CHECK(foo.load().x == 6);
    CHECK(foo.load().y == 4);
  }

  TEST_CASE("test_copy") {
    const Trial frame;
    const kin::Value<Foo> foo(Foo{.x = 2, .y = 5.0});
    const kin::Value<Foo> bar(foo.load());
    CHECK_FALSE(foo == bar);
    foo.store({.x = 0, .y = 0});
    CHECK(bar.load().x == 2);
    CHECK(bar.load().y == 5.0);
  }
}
