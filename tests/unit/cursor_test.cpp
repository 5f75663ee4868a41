// SPDX-License-Identifier: BSL-1.0

// Arithmetic, so the compiler could check it; the cases are here to say what holds.

#include "channel/cursor.hpp"

#include <doctest/doctest.h>

#include <cstdint>

using kin::detail::Cursor;
using kin::detail::is_before;

namespace {

constexpr std::uint32_t most_count = Cursor::count_mask;
constexpr std::uint64_t word_of(std::uint32_t count, std::uint32_t position) {
  return (std::uint64_t{count} << 32) | position;
}

}  // namespace

TEST_SUITE("cursor") {
  TEST_CASE("a word holds position, count and shutdown apart") {
    constexpr Cursor cursor(word_of(7, 0xfffffff0));
    CHECK(cursor.position() == 0xfffffff0);
    CHECK(cursor.count() == 7);
    CHECK_FALSE(cursor.is_shut_down());
    CHECK(cursor.shut().is_shut_down());
    CHECK(cursor.shut().position() == cursor.position());
    CHECK(cursor.shut().count() == cursor.count());
    CHECK(cursor.shut().shut().word() == cursor.shut().word());
  }

  TEST_CASE("a step is one message further, and stays shut down") {
    constexpr Cursor next = Cursor(word_of(7, 100)).moved_to(103);
    CHECK(next.word() == word_of(8, 103));
    CHECK(Cursor(word_of(7, 100)).shut().moved_to(103).is_shut_down());
    CHECK(Cursor(word_of(7, 100)).shut().moved_to(103).count() == 8);
  }

  TEST_CASE("the count begins again behind its largest, without touching the rest") {
    constexpr Cursor last(word_of(most_count, 5));
    CHECK(last.moved_to(6).count() == 0);
    CHECK(last.moved_to(6).position() == 6);
    CHECK_FALSE(last.moved_to(6).is_shut_down());
    CHECK(last.shut().moved_to(6).is_shut_down());
    CHECK(last.moved_to(6).count_since(last) == 1);
    CHECK(last.moved_to(6).moved_to(7).moved_to(8).count_since(last) == 3);
    CHECK(Cursor(word_of(10, 0)).count_since(Cursor(word_of(most_count - 4, 0))) == 15);
    CHECK(last.count_since(last) == 0);
    CHECK(last.shut().count_since(last) == 0);
  }

  TEST_CASE("before and behind are the shorter way round") {
    CHECK(is_before(1, 2));
    CHECK_FALSE(is_before(2, 1));
    CHECK_FALSE(is_before(2, 2));
    CHECK(is_before(0xffffffff, 0));
    CHECK(is_before(0xfffffff0, 0x10));
    CHECK_FALSE(is_before(0x10, 0xfffffff0));
    CHECK(is_before(0, 0x7fffffff));
    CHECK(is_before(0x80000000, 0xffffffff));
  }
}
