// SPDX-License-Identifier: BSL-1.0
//
// The range that imap() returns: how it reads its items, and what it makes of its chunks.
//
// Fails when:
//   run_each_in_place() leaves `failures` empty: an item that throws …
//   outcomes() forgets each_front: each result is that of its item …
//   fill() does not look at its patience: … comes at once
//   advance_to_next_chunk() fills twice the window: … no further than the window

#include "frame.hpp"

#include <kin/pool.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <list>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace unit;

struct alignas(64) Wide {
  int value;
};

struct Big {
  std::array<int, 100> numbers;
};

int square(int x) { return x * x; }
Wide as_wide(int x) { return {square(x)}; }
Big as_big(int x) {
  Big big{};
  big.numbers.fill(x);
  return big;
}
std::string as_text(int x) { return std::to_string(x); }

int refuse_thirds(int x) {
  if (x % 3 == 0) throw std::out_of_range(std::to_string(x));
  return x;
}
std::string refuse_thirds_as_text(int x) { return std::to_string(refuse_thirds(x)); }

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

template <typename Pool, typename Range>
void check_squares(Pool& pool, const Range& items, int count) {
  for (const std::ptrdiff_t size : {1, 3, 19, 20, 1000, 100'000}) {
    int next = 0;
    for (const int one : pool.imap({.chunk_size = size}, square, items)) {
      REQUIRE(one == square(next++));
    }
    CHECK(next == count);
    std::multiset<int> all;
    for (const int one : pool.imap_unordered({.chunk_size = size}, square, items)) all.insert(one);
    CHECK(all.size() == static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) REQUIRE(all.count(square(i)) == 1);
  }
}

// Endless numbers; `read` is called before each is read.
template <typename Read>
auto numbers_read(Read read) {
  return std::views::iota(0) | std::views::transform([read](int number) {
           read(number);
           return number;
         });
}

}  // namespace

TEST_SUITE("result range") {
  TEST_CASE("each result is that of its item, in chunks of any size, from any range") {
    const Frame frame;
    constexpr int count = 2000;
    const std::vector<int> standing = numbers(count);
    const std::list<int> linked(standing.begin(), standing.end());
    kin::Pool pool(2);
    kin::ThreadPool threads(2);
    check_squares(pool, standing, count);
    check_squares(pool, linked, count);
    check_squares(pool, std::views::iota(0, count), count);
    check_squares(threads, standing, count);
  }

  TEST_CASE("results of any type") {
    const Frame frame;
    const std::vector<int> items = numbers(100);
    kin::Pool pool(2);
    for (const std::ptrdiff_t size : {1, 7, 100}) {
      int next = 0;
      for (const Wide& one : pool.imap({.chunk_size = size}, as_wide, items)) {
        REQUIRE(reinterpret_cast<std::uintptr_t>(&one) % alignof(Wide) == 0);
        REQUIRE(one.value == square(next++));
      }
      CHECK(next == 100);
      next = 0;
      for (const Big& one : pool.imap({.chunk_size = size}, as_big, items)) {
        REQUIRE(one.numbers.back() == next++);
      }
      CHECK(next == 100);
      next = 0;
      for (std::string& one : pool.imap({.chunk_size = size}, as_text, items)) {
        REQUIRE(std::move(one) == std::to_string(next++));
      }
      CHECK(next == 100);
      next = 0;
      for (const auto nothing : pool.imap(
               {.chunk_size = size}, [](int) {}, items)) {
        static_cast<void>(nothing);
        ++next;
      }
      CHECK(next == 100);
    }
  }

  TEST_CASE("an item that throws does so at its place, and the others have results") {
    const Frame frame;
    const std::vector<int> items = numbers(100);
    kin::Pool pool(2);
    const auto check = [&](auto results, const auto& result_of) {
      for (int i = 0; i < 100; ++i) {
        if (i % 3 == 0) {
          try {
            static_cast<void>(results.next_for(patience));
            FAIL("an item that throws has a result");
          } catch (const std::out_of_range& error) {
            REQUIRE(std::string(error.what()) == std::to_string(i));
          }
        } else {
          REQUIRE(results.next_for(patience) == result_of(i));
        }
      }
      CHECK_FALSE(results.next());
    };
    for (const std::ptrdiff_t size : {1, 2, 3, 50, 1000}) {
      check(pool.imap({.chunk_size = size}, refuse_thirds, items), [](int i) { return i; });
      check(pool.imap({.chunk_size = size}, refuse_thirds_as_text, items),
            [](int i) { return std::to_string(i); });
    }
  }

  TEST_CASE("a chunk whose worker dies has one outcome; with retries it has all of its results") {
    const Frame frame;
    const std::vector<int> items = numbers(100);
    const auto die_once_at_fifty = [](const kin::Queue<int>& told, int x) {
      if (x == 50) {
        told.put(x);
        if (told.size() == 1) std::raise(SIGKILL);
      }
      return x;
    };
    kin::Pool pool(2);
    const kin::Queue<int> once;
    int next = 0;
    for (const int one : pool.imap({.chunk_size = 30, .retries = 1},
                                   kin::partial(die_once_at_fifty, once), items)) {
      REQUIRE(one == next++);
    }
    CHECK(next == 100);
    const kin::Queue<int> again;
    auto results = pool.imap({.chunk_size = 30}, kin::partial(die_once_at_fifty, again), items);
    for (int i = 0; i < 30; ++i) REQUIRE(results.next_for(patience) == i);
    CHECK_THROWS_AS(static_cast<void>(results.next_for(patience)), kin::WorkerDied);
    for (int i = 60; i < 100; ++i) REQUIRE(results.next_for(patience) == i);
    CHECK_FALSE(results.next());
  }

  TEST_CASE("items are read when results are taken, no further than the window") {
    const Frame frame;
    kin::Pool pool(2);
    const int window = static_cast<int>(kin::detail::usual_window(2));
    for (const int size : {1, 10}) {
      int read = 0;
      auto results =
          pool.imap({.chunk_size = size}, square, numbers_read([&](int /*number*/) { ++read; }));
      CHECK(read == 0);
      for (int i = 0; i < 1000; ++i) {
        REQUIRE(results.next_for(patience) == square(i));
        // `i` were taken when this was read.
        REQUIRE(read <= (i / size + window) * size);
      }
    }
  }

  TEST_CASE("the first result of a range that is slow to read comes at once") {
    const Frame frame;
    kin::Pool pool(1);
    const kin::Queue<int> begun;
    int read = 0;
    bool is_done = true;
    // An item takes a millisecond to be read, and until the one before it has been begun: so the one
    // before that is done.
    const auto slowly = [&](int number) {
      const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
      ++read;
      if (number > 0 && begun.get_for(patience) != number - 1) is_done = false;
      while (std::chrono::steady_clock::now() < until) {
      }
    };
    const auto tell = [](const kin::Queue<int>& told, int x) {
      told.put(x);
      return x;
    };
    auto results = pool.imap(kin::partial(tell, begun), numbers_read(slowly));
    CHECK(results.next_for(patience) == 0);
    CHECK(read <= 4);
    for (int i = 1; i < 20; ++i) CHECK(results.next_for(patience) == i);
    CHECK(is_done);
  }
}
