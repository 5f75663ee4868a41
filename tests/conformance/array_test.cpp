// SPDX-License-Identifier: BSL-1.0
//
// Array and RawArray, against CPython's _TestArray, and what _TestSharedCTypes asks of arrays.
//
// Fails when:
//   the heap does not zero its cells: test_array_from_size
//   Array::assign() changes nothing: test_array

#include "trial.hpp"

#include <algorithm>
#include <numeric>
#include <span>
#include <type_traits>

using namespace trial;

namespace {

const std::vector<int> sequence{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};

// In place, as it is done to the other in the child.
template <typename T>
void sum_up(std::span<T> all) {
  for (std::size_t i = 1; i < all.size(); ++i) all[i] += all[i - 1];
}

std::vector<int> summed_up(std::vector<int> numbers) {
  sum_up(std::span(numbers));
  return numbers;
}

template <typename T>
std::vector<T> all_of(const kin::Array<T>& array) {
  return array.copy();
}
template <typename T>
std::vector<T> all_of(const kin::RawArray<T>& array) {
  return {array.begin(), array.end()};
}

template <typename T>
concept HasLock = requires(const T& array) { array.get_lock(); };

}  // namespace

TEST_SUITE("array") {
  TEST_CASE("test_array") {
    const Trial frame;
    const Kind kind = each_kind();
    const kin::Array<int> array(sequence);
    std::vector<int> expected = sequence;
    CHECK(array.size() == sequence.size());
    CHECK(array[3] == sequence[3]);
    CHECK(array.copy(2, 5) == std::vector<int>(sequence.begin() + 2, sequence.begin() + 7));
    array.assign(4, {1, 2, 3, 4});
    for (int i = 0; i < 4; ++i) expected[static_cast<std::size_t>(4 + i)] = i + 1;
    CHECK(array.copy() == expected);
    Companion child(kind, [array] { array.with([](std::span<int> all) { sum_up(all); }); });
    CHECK(child.ends_well());
    CHECK(array.copy() == summed_up(expected));
    static_assert(HasLock<kin::Array<int>>);
  }

  TEST_CASE("test_rawarray") {
    const Trial frame;
    const Kind kind = each_kind();
    const kin::RawArray<int> array(sequence);
    std::vector<int> expected = sequence;
    CHECK(array.size() == sequence.size());
    CHECK(array[3] == sequence[3]);
    std::ranges::copy(std::vector<int>{1, 2, 3, 4}, array.span().subspan(4).begin());
    for (int i = 0; i < 4; ++i) expected[static_cast<std::size_t>(4 + i)] = i + 1;
    Companion child(kind, [array] { sum_up(array.span()); });
    CHECK(child.ends_well());
    CHECK(all_of(array) == summed_up(expected));
    static_assert(!HasLock<kin::RawArray<int>>);
  }

  TEST_CASE_TEMPLATE("test_array_from_size", Any, kin::Array<int>, kin::RawArray<int>) {
    const Trial frame;
    for (const std::size_t size : {std::size_t{10}, std::size_t{10'000}}) {
      const std::vector<int> zeros(size);
      std::vector<int> numbers(size);
      std::iota(numbers.begin(), numbers.end(), 0);
      for (int again = 0; again < 3; ++again) {
        const Any array(size);
        CHECK(array.size() == size);
        CHECK(all_of(array) == zeros);
        std::ranges::copy(numbers, array.span().begin());
        CHECK(all_of(array) == numbers);
      }
    }
  }

  TEST_CASE("test_getobj_getlock") {
    const Trial frame;
    const kin::Array<int> own(5);
    const std::scoped_lock guard(own.get_lock());
    CHECK(outcome([own] { expect(!own.get_lock().try_lock()); }) == 0);
    const kin::Lock lock;
    const kin::Array<int> with_lock(std::size_t{5}, lock);
    CHECK(with_lock.get_lock() == lock);
    static_assert(!std::is_constructible_v<kin::Array<int>, std::size_t, const char*>);
  }

  // _TestSharedCTypes
  TEST_CASE("test_synchronize") {
    const Trial frame;
    const kin::Lock lock;
    const kin::Array<double> numbers(std::views::iota(0, 10), lock);
    const kin::Array<char> text(20, lock);
    text.set_text("hello");
    kin::Process doubler([=] {
      numbers.with([](std::span<double> all) {
        for (double& one : all) one *= 2;
      });
      const std::string seen = text.text();
      text.set_text(seen + seen);
    });
    doubler.start();
    CHECK(end_of(doubler) == 0);
    for (std::size_t i = 0; i < 10; ++i) CHECK(numbers.load(i) == 2.0 * static_cast<double>(i));
    CHECK(text.text() == "hellohello");
  }
}
