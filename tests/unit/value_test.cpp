// SPDX-License-Identifier: BSL-1.0

#include <kin/value.hpp>

#include "arena_frame.hpp"

#include "support/sweep.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using kin::RawValue;
using kin::Value;

namespace {

struct Point {
  int x = 0;
  int y = 0;
  int z = 0;
  bool operator==(const Point&) const = default;
};

// Neither of a word's size nor of a multiple of it.
struct Odd {
  std::array<char, 13> bytes;
  bool operator==(const Odd&) const = default;
};

// All words are the same, in every value that is ever stored.
template <std::size_t size>
struct Alike {
  std::array<std::uint64_t, size> words;

  static Alike of(std::uint64_t number) {
    Alike all;
    all.words.fill(number);
    return all;
  }
  [[nodiscard]] bool is_whole() const {
    for (const auto word : words) {
      if (word != words[0]) return false;
    }
    return true;
  }
};

static_assert(std::is_copy_constructible_v<Value<int>> && std::is_copy_assignable_v<Value<int>>);
static_assert(!std::is_convertible_v<int, Value<int>>);
static_assert(kin::Sendable<Value<Point>> && kin::Sendable<RawValue<int>>);
static_assert(!kin::Plain<Value<int>>);

template <typename T>
concept HasFetchAdd = requires(Value<T> value, T amount) { value.fetch_add(amount); };
template <typename T>
concept HasFetchAnd = requires(Value<T> value, T mask) { value.fetch_and(mask); };
template <typename T>
concept HasAtomic = requires(RawValue<T> value) { value.atomic(); };

}  // namespace

TEST_SUITE("value") {
  TEST_CASE_TEMPLATE("it is what was stored", T, bool, char, std::int16_t, int, long, float, double,
                     std::uint64_t) {
    const unit::ArenaFrame frame;
    const Value<T> value(T(1));
    CHECK(value.load() == T(1));
    value.store(T(0));
    CHECK(value.load() == T(0));
    CHECK(value.exchange(T(1)) == T(0));
    CHECK(value.load() == T(1));
    T expected = T(0);
    CHECK_FALSE(value.compare_exchange(expected, T(0)));
    CHECK(expected == T(1));
    CHECK(value.compare_exchange(expected, T(0)));
    CHECK(value.load() == T(0));
    CHECK(Value<T>().load() == T());
  }

  TEST_CASE("a struct is a value like any other") {
    const unit::ArenaFrame frame;
    const Value<Point> point(Point{.x = 1, .y = 2, .z = 3});
    CHECK(point.load() == Point{1, 2, 3});
    for (int i = 0; i < 5; ++i) {
      point.store({i, i + 1, i + 2});
      CHECK(point.load() == Point{i, i + 1, i + 2});
    }
    Point expected{};
    CHECK_FALSE(point.compare_exchange(expected, {7, 7, 7}));
    CHECK(point.compare_exchange(expected, {7, 7, 7}));
    CHECK(point.exchange({8, 8, 8}) == Point{7, 7, 7});
    CHECK(point.load() == Point{8, 8, 8});

    const Value<Odd> odd(Odd{"a dozen left"});
    CHECK(odd.load() == Odd{"a dozen left"});
    odd.store({"and a second"});
    CHECK(odd.load() == Odd{"and a second"});
  }

  TEST_CASE_TEMPLATE("a large one has a block of its own", T, Alike<1990>, Alike<2040>,
                     Alike<60'000>) {
    const unit::ArenaFrame frame;
    const Value<T> value(T::of(1));
    const auto is = [](const T& seen, std::uint64_t number) {
      return seen.is_whole() && seen.words[0] == number;
    };
    CHECK(is(value.load(), 1));
    value.store(T::of(2));
    CHECK(is(value.load(), 2));
    value.with([](T& all) { all = T::of(3); });
    CHECK(unit::answer_of([&] { return is(value.load(), 3) ? "3" : "another"; }) == "3");
  }

  TEST_CASE("numbers are added to, and wrap around") {
    const unit::ArenaFrame frame;
    const Value<int> number(40);
    CHECK(number.fetch_add(2) == 40);
    CHECK(number.fetch_sub(1) == 42);
    CHECK(number.load() == 41);
    number.store(std::numeric_limits<int>::max());
    CHECK(number.fetch_add(1) == std::numeric_limits<int>::max());
    CHECK(number.load() == std::numeric_limits<int>::min());
    number.fetch_sub(1);
    CHECK(number.load() == std::numeric_limits<int>::max());

    const Value<std::uint8_t> byte(0b1100);
    CHECK(byte.fetch_and(0b0110) == 0b1100);
    CHECK(byte.fetch_or(0b0001) == 0b0100);
    CHECK(byte.fetch_xor(0b1111) == 0b0101);
    CHECK(byte.load() == 0b1010);
    byte.fetch_sub(11);
    CHECK(byte.load() == 255);

    const Value<double> half(0.5);
    CHECK(half.fetch_add(0.25) == 0.5);
    CHECK(half.fetch_sub(0.5) == 0.75);
    CHECK(half.load() == 0.25);
    static_assert(HasFetchAdd<int> && HasFetchAdd<double>);
    static_assert(!HasFetchAdd<bool> && !HasFetchAdd<Point> && !HasFetchAnd<double>);
  }

  TEST_CASE("with() changes it as a whole, and returns what its function did") {
    const unit::ArenaFrame frame;
    const Value<long> number(1);
    CHECK(number.with([](long& n) { return n++; }) == 1);
    CHECK(number.load() == 2);
    const Value<Point> point;
    CHECK(point.with([](Point& p) {
      p.x = 1;
      p.y = 2;
      return std::make_unique<int>(p.x + p.y);
    }) != nullptr);
    CHECK(point.load() == Point{1, 2, 0});
    point.with([](Point& p) { ++p.z; });
    CHECK(point.load().z == 1);
    // By value, also where the function returns a reference.
    CHECK(point.with([](Point& p) -> Point& { return p; }) == Point{1, 2, 1});
    static_assert(
        std::is_same_v<decltype(point.with([](Point& p) -> Point& { return p; })), Point>);
  }

  TEST_CASE("what with()'s function throws passes, and nothing was changed") {
    const unit::ArenaFrame frame;
    const Value<Point> point(Point{1, 2, 3});
    const Value<int> number(1);
    const auto change_and_throw = [](auto& value) {
      value = {};
      throw std::runtime_error("stop");
    };
    CHECK_THROWS_WITH(point.with(change_and_throw), "stop");
    CHECK_THROWS_WITH(number.with(change_and_throw), "stop");
    CHECK(point.load() == Point{1, 2, 3});
    CHECK(number.load() == 1);
    CHECK_FALSE(point.get_lock().locked());
  }

  TEST_CASE("a change inside of with(), by another way, is refused") {
    const unit::ArenaFrame frame;
    const Value<Point> point;
    const Value<int> number(0);
    CHECK_THROWS_AS(number.with([&](int&) { number.fetch_add(5); }), std::logic_error);
    CHECK(number.load() == 5);
    CHECK_THROWS_AS(point.with([&](Point&) { point.store({1, 1, 1}); }), std::logic_error);
    CHECK(point.load() == Point{1, 1, 1});
    // To read it is all right: it is what it was before.
    CHECK(number.with([&](int& n) {
      n = 6;
      return number.load();
    }) == 5);
    CHECK(number.load() == 6);
  }

  TEST_CASE("the child of a fork inside of with() changes nothing") {
    const unit::ArenaFrame frame;
    const Value<int> value(1);
    const pid_t parent = ::getpid();
    value.with([&](int& it) {
      const pid_t child = ::fork();
      if (child == 0) {
        it = 3;
        // Out of the lock's scope there is no way here, as for any lock.
        std::set_terminate([] { ::_exit(7); });
        return;
      }
      int status = 0;
      CHECK(::waitpid(child, &status, 0) == child);
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 7);
      CHECK(value.load() == 1);
      it = 2;
    });
    if (::getpid() != parent) ::_exit(8);
    CHECK(value.load() == 2);
    support::sweep_the_dead();  // what the child had
  }

  TEST_CASE("its lock holds up all that changes it, and no load") {
    const unit::ArenaFrame frame;
    const Value<Point> point;
    const Value<int> number(1);
    const kin::Queue<int> events;
    const std::unique_lock both(point.get_lock());
    {
      const std::unique_lock held(number.get_lock());
      unit::Relative child([&] {
        const int seen = number.load() + point.load().x;
        events.put(seen);
        number.store(2);
        return std::to_string(seen) + " then stored";
      });
      CHECK(events.get_for(unit::patience) == 1);
      CHECK(child.falls_asleep());
      CHECK(number.load() == 1);
      // Who holds it may change it.
      number.fetch_add(10);
      CHECK(number.load() == 11);
      number.get_lock().unlock();
      CHECK(child.answer() == "1 then stored");
      number.get_lock().lock();
    }
    CHECK(number.load() == 2);
  }

  TEST_CASE("a lock that was passed is the one that is used") {
    const unit::ArenaFrame frame;
    const kin::RLock recursive;
    const kin::Lock plain;
    const Value<int> first(1, recursive);
    const Value<Point> second(Point{}, recursive);
    const Value<int> third(1, plain);
    CHECK(first.get_lock() == recursive);
    CHECK(second.get_lock() == first.get_lock());
    CHECK(third.get_lock() == plain);
    CHECK_FALSE(Value<int>(1).get_lock() == Value<int>(1).get_lock());
    {
      const std::scoped_lock guard(recursive);
      first.fetch_add(1);
      second.store({1, 2, 3});
      CHECK(unit::answer_of([&] {
              return first.get_lock().try_lock() || second.get_lock().try_lock() ? "free" : "held";
            }) == "held");
    }
    CHECK(first.load() == 2);
    const std::scoped_lock guard(plain);
    CHECK(third.load() == 1);
    CHECK_THROWS_AS(third.store(2), kin::DeadlockError);
    CHECK_THROWS_AS(third.fetch_add(2), kin::DeadlockError);
    CHECK(third.load() == 1);
  }

  TEST_CASE("many add, and nothing is lost") {
    const unit::ArenaFrame frame;
    constexpr int times = 2000;
    const Value<int> number(0);
    const Value<double> real(0);
    const Value<Point> point;
    const RawValue<long> raw(0);
    const auto add = [&] {
      for (int i = 0; i < times; ++i) {
        number.fetch_add(1);
        real.fetch_add(0.5);
        point.with([](Point& p) { p = {p.x + 1, p.y + 2, p.z - 1}; });
        raw.atomic().fetch_add(1);
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
    CHECK(number.load() == 4 * times);
    CHECK(real.load() == 2 * times);
    CHECK(point.load() == Point{4 * times, 8 * times, -4 * times});
    CHECK(raw.get() == 4 * times);
  }

  TEST_CASE("no load sees half a value while others store") {
    const unit::ArenaFrame frame;
    using Large = Alike<100>;
    const Value<Large> value(Large::of(0));
    const RawValue<bool> stop(false);
    const auto store = [&](std::uint64_t begin) {
      for (std::uint64_t i = begin; !stop.atomic().load(); i += 2) value.store(Large::of(i));
      return "done";
    };
    unit::Relative first([&] { return store(1); });
    std::thread second([&] { store(2); });
    std::size_t different = 0;
    std::uint64_t last = 0;
    bool all_whole = true;
    // Until it was really changed between loads, and often.
    CHECK(unit::eventually([&] {
      for (int i = 0; i < 100; ++i) {
        const Large seen = value.load();
        all_whole = all_whole && seen.is_whole();
        if (seen.words[0] != last) ++different;
        last = seen.words[0];
      }
      return different > 1000;
    }));
    CHECK(all_whole);
    stop.atomic().store(true);
    second.join();
    CHECK(first.answer() == "done");
  }

  TEST_CASE("it travels, and is the same value there") {
    const unit::ArenaFrame frame;
    const kin::Queue<Value<Point>> values;
    unit::Relative child([&] {
      const auto point = values.get_for(unit::patience);
      if (!point) return "nothing came";
      point->store({4, 5, 6});
      return point->get_lock().try_lock() ? "stored, and its lock is free" : "stored";
    });
    const kin::Lock lock;
    const Value<Point> point(Point{}, lock);
    lock.lock();
    lock.unlock();
    values.put(point);
    CHECK(child.answer() == "stored, and its lock is free");
    CHECK(point.load() == Point{4, 5, 6});
    values.put(point);
    const Value<Point> again = values.get();
    CHECK(again == point);
    CHECK(again.get_lock() == lock);
    CHECK_FALSE(again == Value<Point>());

    const kin::Queue<RawValue<int>> raws;
    const RawValue<int> raw(7);
    raws.put(raw);
    CHECK(raws.get() == raw);
  }

  TEST_CASE("what came in a message is of the size that its type has") {
    const unit::ArenaFrame frame;
    kin::detail::OutArchive out;
    kin::detail::encode(out, Value<int>(1));
    const auto read = [&]<typename T>(T* /*type*/) {
      kin::detail::IncomingCargo cargo;
      for (const auto& handle : out.cargo().handles) cargo.handles.push_back(handle);
      kin::detail::InArchive in(out.bytes(), cargo);
      return kin::detail::decode<T>(in);
    };
    CHECK(read(static_cast<Value<int>*>(nullptr)).load() == 1);
    CHECK_THROWS_AS(read(static_cast<Value<Point>*>(nullptr)), kin::SerializationError);
    CHECK_THROWS_AS(read(static_cast<kin::RLock*>(nullptr)), kin::SerializationError);
  }

  TEST_CASE("a copy is the same value, a moved-from one says so") {
    const unit::ArenaFrame frame;
    Value<int> value(1);
    const Value<int> copy = value;
    copy.store(2);
    CHECK(value.load() == 2);
    CHECK(copy == value);
    const Value<int> independent(value.load());
    independent.store(3);
    CHECK(value.load() == 2);
    const Value<int> taken = std::move(value);
    // NOLINTBEGIN(bugprone-use-after-move): what is left is what is tested
    CHECK_THROWS_AS(static_cast<void>(value.load()), std::logic_error);
    CHECK_THROWS_AS(value.store(1), std::logic_error);
    CHECK_THROWS_AS(value.with([](int&) {}), std::logic_error);
    value = taken;
    CHECK(value.load() == 2);
    RawValue<int> raw(1);
    const RawValue<int> taken_raw = std::move(raw);
    CHECK_THROWS_AS(static_cast<void>(raw.get()), std::logic_error);
    // NOLINTEND(bugprone-use-after-move)
    CHECK(taken_raw.get() == 1);
  }

  TEST_CASE("a raw value is a reference that all have") {
    const unit::ArenaFrame frame;
    const RawValue<Point> point(Point{1, 2, 3});
    CHECK(reinterpret_cast<std::uintptr_t>(&point.get()) % 64 == 0);
    CHECK(unit::answer_of([&] {
            point->y = 7;
            return std::to_string((*point).x);
          }) == "1");
    CHECK(point.get() == Point{1, 7, 3});
    const RawValue<double> real;
    CHECK(real.get() == 0.0);
    real.atomic().store(2.5);
    CHECK(real.get() == 2.5);
    static_assert(HasAtomic<double> && !HasAtomic<Point>);
  }

  TEST_CASE("it lives as long as a process that inherited it") {
    const unit::ArenaFrame frame;
    auto value = std::make_unique<Value<Alike<3000>>>(Alike<3000>::of(9));
    const kin::Queue<bool> go;
    unit::Relative child([&] {
      if (!go.get_for(unit::patience)) return "nobody let it go";
      const auto seen = value->load();
      return seen.is_whole() && seen.words[0] == 9 ? "9" : "another";
    });
    value.reset();
    // What would be the first to be given out again.
    const Value<Alike<3000>> other(Alike<3000>::of(1));
    go.put(true);
    CHECK(child.answer() == "9");
  }

  TEST_CASE("whoever holds its lock and dies leaves it to the next, who is told") {
    const unit::ArenaFrame frame;
    kin::set_log_level(kin::LogLevel::off);
    const Value<int> number(1);
    CHECK(unit::answer_of([&] {
            number.get_lock().lock();
            number.store(2);
            return "dies";
          }) == "dies");
    CHECK(number.load() == 2);
    number.get_lock().lock();
    CHECK(number.get_lock().owner_died());
    number.get_lock().unlock();
    CHECK(number.fetch_add(1) == 2);
    kin::set_log_level(kin::LogLevel::warning);
  }
}
