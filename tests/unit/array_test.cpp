// SPDX-License-Identifier: BSL-1.0

#include <kin/array.hpp>

#include "arena_frame.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/value.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <mutex>
#include <new>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using kin::Array;
using kin::RawArray;

namespace {

struct Point {
  int x = 0;
  int y = 0;
  int z = 0;
  bool operator==(const Point&) const = default;
};

template <typename T>
using Vector = std::vector<T>;

static_assert(std::is_copy_constructible_v<Array<int>> && std::is_copy_assignable_v<Array<int>>);
static_assert(!std::is_convertible_v<std::size_t, Array<int>>);
static_assert(!std::is_convertible_v<std::vector<int>, Array<int>>);
static_assert(kin::Sendable<Array<Point>> && kin::Sendable<RawArray<int>>);
static_assert(std::ranges::input_range<Array<int>>);
static_assert(std::ranges::contiguous_range<RawArray<int>>);

}  // namespace

TEST_SUITE("array") {
  TEST_CASE("it is made of a size, of a list, of any range") {
    const unit::ArenaFrame frame;
    CHECK(Array<int>(3).copy() == Vector<int>{0, 0, 0});
    CHECK(Array<int>{3}.copy() == Vector<int>{3});
    CHECK(Array{1, 2, 3}.copy() == Vector<int>{1, 2, 3});
    CHECK(Array(Vector<double>{0.5, 1}).copy() == Vector<double>{0.5, 1});
    CHECK(Array<long>(std::views::iota(5, 8)).copy() == Vector<long>{5, 6, 7});
    CHECK(Array<short>(std::list<short>{1, 2}).copy() == Vector<short>{1, 2});
    CHECK(Array(Vector<bool>{true, false, true}).copy() == Vector<bool>{true, false, true});
    CHECK(Array<int>(Array{4, 5}).copy() == Vector<int>{4, 5});
    CHECK(Array<Point>(2).copy() == Vector<Point>(2));
    CHECK(Array<int>().empty());
    CHECK(Array<int>(0).copy().empty());
    CHECK(RawArray<int>(3).size() == 3);
    CHECK(std::ranges::equal(RawArray{1, 2, 3}, Vector<int>{1, 2, 3}));
    CHECK(std::ranges::equal(RawArray<long>(std::views::iota(5, 8)), Vector<long>{5, 6, 7}));
  }

  TEST_CASE_TEMPLATE("it is zeroed, also when its memory was another's", T, char, int, Point) {
    const unit::ArenaFrame frame;
    for (const std::size_t size :
         {std::size_t{7}, std::size_t{100}, std::size_t{2000}, std::size_t{40'000}}) {
      CAPTURE(size);
      for (int again = 0; again < 3; ++again) {
        const RawArray<T> array(size);
        const auto bytes = std::as_writable_bytes(array.span());
        CHECK(std::ranges::all_of(bytes, [](std::byte one) { return one == std::byte{0}; }));
        std::ranges::fill(bytes, std::byte{0xff});
      }
    }
  }

  TEST_CASE("elements are read and assigned as in any array") {
    const unit::ArenaFrame frame;
    const Array<int> numbers{1, 2, 3};
    CHECK(numbers.size() == 3);
    CHECK(numbers[0] == 1);
    numbers[0] = 7;
    numbers[1] = numbers[0];
    numbers[2] += 10;
    CHECK((numbers[2] -= 3) == 10);
    CHECK(++numbers[0] == 8);
    CHECK(--numbers[1] == 6);
    const int last = numbers[2];
    CHECK(last == 10);
    CHECK(numbers.load(0) == 8);
    numbers.store(0, 9);
    CHECK(numbers.copy() == Vector<int>{9, 6, 10});
    numbers.fill(5);
    CHECK(numbers.copy() == Vector<int>{5, 5, 5});
    const Array<Point> points(2);
    points[1] = Point{1, 2, 3};
    CHECK(points.load(1) == Point{1, 2, 3});
    CHECK(points.load(0) == Point{});
    const Array<std::int8_t> bytes{127};
    bytes[0] += 1;
    CHECK(bytes.load(0) == -128);
  }

  TEST_CASE("slices are copied and assigned") {
    const unit::ArenaFrame frame;
    const Array<int> numbers(std::views::iota(0, 10));
    CHECK(numbers.copy(3, 4) == Vector<int>{3, 4, 5, 6});
    CHECK(numbers.copy(10, 0).empty());
    numbers.assign(2, Vector<int>{20, 30});
    numbers.assign(8, {80, 90});
    numbers.assign(10, Vector<int>{});
    numbers.assign(0, std::views::iota(-2L, 0L) |
                          std::views::transform([](long n) { return static_cast<int>(n); }));
    CHECK(numbers.copy() == Vector<int>{-2, -1, 20, 30, 4, 5, 6, 7, 80, 90});
    // Of itself, and overlapping: it is copied first.
    numbers.assign(1, Vector<int>(numbers.copy(0, 3)));
    CHECK(numbers.copy(0, 5) == Vector<int>{-2, -2, -1, 20, 4});
    numbers.assign(0, numbers);
    CHECK(numbers.load(3) == 20);
    const Array<bool> flags(3);
    flags.assign(1, Vector<bool>{true, true});
    CHECK(flags.copy() == Vector<bool>{false, true, true});
  }

  TEST_CASE("what is out of range says so, and nothing is changed") {
    const unit::ArenaFrame frame;
    const Array<int> numbers{1, 2, 3};
    CHECK_THROWS_AS(numbers[3] = 1, std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(numbers[std::size_t(-1)]), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(numbers.load(3)), std::out_of_range);
    CHECK_THROWS_AS(numbers.store(3, 1), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(numbers.copy(4, 0)), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(numbers.copy(2, 2)), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(numbers.copy(1, std::size_t(-1))), std::out_of_range);
    CHECK_THROWS_AS(numbers.assign(2, {7, 8}), std::out_of_range);
    CHECK_THROWS_WITH(static_cast<void>(numbers.load(5)),
                      "kin: there is no element 5 in an array of 3");
    CHECK_THROWS_AS(static_cast<void>(Array<int>().load(0)), std::out_of_range);
    CHECK(numbers.copy() == Vector<int>{1, 2, 3});
    CHECK_FALSE(numbers.get_lock().locked());
    const RawArray<int> raw{1, 2};
    CHECK_THROWS_AS(static_cast<void>(raw.at(2)), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(raw.atomic(2)), std::out_of_range);
  }

  TEST_CASE("sizes that can't be are refused") {
    const unit::ArenaFrame frame;
    constexpr std::size_t minus_one = std::numeric_limits<std::size_t>::max();
    CHECK_THROWS_AS((Array<char>(minus_one)), std::length_error);
    CHECK_THROWS_AS(Array<int>(std::size_t{1} << 62), std::length_error);
    CHECK_THROWS_AS(RawArray<int>(minus_one / 4 + 2), std::length_error);
    CHECK_THROWS_AS(Array<char>(minus_one / 2), std::bad_alloc);
    CHECK_THROWS_AS(Array<char>(std::size_t{1} << 45), std::bad_alloc);
  }

  TEST_CASE("text is what stands before the first zero") {
    const unit::ArenaFrame frame;
    const Array<char> text(10);
    CHECK(text.text().empty());
    text.set_text("hello");
    CHECK(text.text() == "hello");
    text.set_text("hi");
    CHECK(text.copy() == Vector<char>{'h', 'i', 0, 0, 0, 0, 0, 0, 0, 0});
    text.set_text("0123456789");
    CHECK(text.text() == "0123456789");
    CHECK_THROWS_AS(text.set_text("0123456789a"), std::length_error);
    CHECK(text.text() == "0123456789");
    CHECK(Array<char>("word").size() == 4);
    CHECK(Array<char>(std::string("word")).text() == "word");
    text.assign(3, "abc");
    CHECK(text.text() == "012abc6789");
  }

  TEST_CASE("with() has the elements themselves") {
    const unit::ArenaFrame frame;
    const Array<int> numbers{3, 1, 2};
    numbers.with([](std::span<int> all) { std::ranges::sort(all); });
    CHECK(numbers.copy() == Vector<int>{1, 2, 3});
    CHECK(numbers.with(
              [](std::span<int> all) { return std::accumulate(all.begin(), all.end(), 0); }) == 6);
    // By value, also where the function returns a reference.
    static_assert(
        std::is_same_v<decltype(numbers.with([](std::span<int> all) -> int& { return all[0]; })),
                       int>);
    // The lock is recursive.
    numbers.with([&](std::span<int> all) {
      numbers[0] = 9;
      all[1] = numbers.load(0);
    });
    CHECK(numbers.copy() == Vector<int>{9, 9, 3});
    CHECK_THROWS_WITH(numbers.with([](std::span<int> all) {
      all[2] = 0;
      throw std::runtime_error("stop");
    }),
                      "stop");
    CHECK(numbers.load(2) == 0);
    CHECK_FALSE(numbers.get_lock().locked());
    numbers.span()[0] = 4;
    CHECK(numbers.load(0) == 4);
  }

  TEST_CASE("a loop goes over what was there when it began") {
    const unit::ArenaFrame frame;
    const Array<int> numbers{1, 2, 3};
    Vector<int> seen;
    for (const int number : numbers) {
      numbers.fill(0);
      seen.push_back(number);
    }
    CHECK(seen == Vector<int>{1, 2, 3});
    CHECK(std::ranges::distance(Array<int>(5)) == 5);
    const RawArray<int> raw{3, 1, 2};
    std::sort(raw.begin(), raw.end());
    CHECK(raw[0] == 1);
    CHECK(raw.data()[2] == 3);
  }

  TEST_CASE("many change it, and nothing is lost") {
    const unit::ArenaFrame frame;
    constexpr int times = 2000;
    const Array<int> numbers(3);
    const RawArray<long> raw(2);
    const auto add = [&] {
      for (int i = 0; i < times; ++i) {
        numbers[0] += 1;
        ++numbers[1];
        numbers.with([](std::span<int> all) { all[2] = all[2] + 1; });
        raw.atomic(1).fetch_add(1);
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
    CHECK(numbers.copy() == Vector<int>{4 * times, 4 * times, 4 * times});
    CHECK(raw[1] == 4 * times);
  }

  TEST_CASE("its lock, or the one that was passed, holds up all others") {
    const unit::ArenaFrame frame;
    const kin::Lock plain;
    const kin::RLock recursive;
    const Array<int> first(1, plain);
    const Array<int> second({1, 2}, recursive);
    const Array<int> third(Vector<int>{1, 2}, recursive);
    CHECK(first.get_lock() == plain);
    CHECK(second.get_lock() == recursive);
    CHECK(third.get_lock() == second.get_lock());
    CHECK_FALSE(Array<int>(1).get_lock() == Array<int>(1).get_lock());
    {
      const std::scoped_lock guard(plain);
      CHECK_THROWS_AS(first.store(0, 1), kin::DeadlockError);
      CHECK_THROWS_AS(static_cast<void>(first.load(0)), kin::DeadlockError);
      CHECK(first.span()[0] == 0);
    }
    const Array<int> own{1};
    const kin::Queue<bool> begun;
    own.get_lock().lock();
    unit::Relative child([&] {
      begun.put(true);
      return std::to_string(own.load(0));
    });
    CHECK(begun.get_for(unit::patience));
    CHECK(child.falls_asleep());
    own[0] = 2;
    own.get_lock().unlock();
    CHECK(child.answer() == "2");
  }

  TEST_CASE("it travels, and is the same array there") {
    const unit::ArenaFrame frame;
    const kin::Queue<Array<int>> arrays;
    unit::Relative child([&] {
      const auto array = arrays.get_for(unit::patience);
      if (!array) return std::string("nothing came");
      array->store(1, 7);
      return std::to_string(array->size());
    });
    const Array<int> array(20'000);
    arrays.put(array);
    CHECK(child.answer() == "20000");
    CHECK(array.load(1) == 7);
    arrays.put(array);
    CHECK(arrays.get() == array);
    CHECK_FALSE(array == Array<int>(20'000));
    const kin::Queue<RawArray<char>> raws;
    const RawArray<char> raw(3);
    raws.put(raw);
    CHECK(raws.get() == raw);
  }

  TEST_CASE("what came in a message is of whole elements") {
    const unit::ArenaFrame frame;
    kin::detail::OutArchive out;
    kin::detail::encode(out, Array<char>(13));
    const auto read = [&]<typename T>(T* /*type*/) {
      kin::detail::IncomingCargo cargo;
      for (const auto& handle : out.cargo().handles) cargo.handles.push_back(handle);
      kin::detail::InArchive in(out.bytes(), cargo);
      return kin::detail::decode<T>(in);
    };
    CHECK(read(static_cast<Array<char>*>(nullptr)).size() == 13);
    CHECK_THROWS_AS(read(static_cast<Array<int>*>(nullptr)), kin::SerializationError);
    CHECK_THROWS_AS(read(static_cast<kin::Value<int>*>(nullptr)), kin::SerializationError);
  }

  TEST_CASE("a copy is the same array, a moved-from one says so") {
    const unit::ArenaFrame frame;
    Array<int> array{1, 2};
    const Array<int> copy = array;
    copy[0] = 5;
    CHECK(array.load(0) == 5);
    const Array<int> independent(array.copy());
    independent[0] = 6;
    CHECK(array.load(0) == 5);
    const Array<int> taken = std::move(array);
    // NOLINTBEGIN(bugprone-use-after-move): what is left is what is tested
    CHECK_THROWS_AS(static_cast<void>(array.size()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(array.load(0)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(array.span()), std::logic_error);
    CHECK_THROWS_AS(array.fill(0), std::logic_error);
    // NOLINTEND(bugprone-use-after-move)
    CHECK(taken.load(0) == 5);
  }

  TEST_CASE("whoever dies while it changes several leaves it to the next, who is told") {
    const unit::ArenaFrame frame;
    kin::set_log_level(kin::LogLevel::off);
    const Array<int> array{0, 0};
    CHECK(unit::answer_of([&] {
            array.get_lock().lock();
            array[0] = 1;
            return "dies";
          }) == "dies");
    array.get_lock().lock();
    CHECK(array.get_lock().owner_died());
    CHECK(array.copy() == Vector<int>{1, 0});
    array.get_lock().unlock();
    array[1] = 1;
    kin::set_log_level(kin::LogLevel::warning);
  }
}
