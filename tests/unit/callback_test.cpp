// SPDX-License-Identifier: BSL-1.0
//
// Fails when:
//   move() does not destroy what it moved from: … and once destroyed
//   `fits` forgets is_nothrow_move_constructible: one whose move may throw …

#include <kin/detail/callback.hpp>

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

using Adder = kin::detail::Callback<int(int)>;

// Counts those that live.
template <std::size_t size>
struct Counted {
  explicit Counted(int& count) : living(&count) { ++*living; }
  Counted(Counted&& other) noexcept : living(other.living) { ++*living; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*living; }
  int operator()(int x) { return x + *living; }

  int* living;
  std::array<char, size> more{};
};

struct MayThrow {
  MayThrow() = default;
  MayThrow(MayThrow&& other) noexcept(false) : moves(other.moves + 1) {
    if (moves > 1) throw std::runtime_error("moved twice");
  }
  MayThrow(const MayThrow&) = delete;
  MayThrow& operator=(const MayThrow&) = delete;
  ~MayThrow() = default;
  int operator()(int x) { return x; }

  int moves = 0;
};

template <std::size_t size>
void check_life() {
  int living = 0;
  {
    Adder first{Counted<size>(living)};
    CHECK(living == 1);
    CHECK(first(1) == 2);
    Adder second(std::move(first));
    CHECK(living == 1);
    CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): empty then
    CHECK(second(1) == 2);
    first = Counted<size>(living);
    CHECK(living == 2);
    first = std::move(second);
    CHECK(living == 1);
    CHECK(first(2) == 3);
    std::vector<Adder> many;
    for (int i = 0; i < 10; ++i) many.emplace_back(Counted<size>(living));
    CHECK(living == 11);
    CHECK(many.back()(0) == 11);
    first = nullptr;
    CHECK(living == 10);
  }
  CHECK(living == 0);
}

}  // namespace

TEST_SUITE("callback") {
  TEST_CASE("what it owns is moved, and once destroyed, if it is small and if it is large") {
    check_life<1>();
    check_life<200>();
  }

  TEST_CASE("what can only be moved is owned") {
    Adder adder([number = std::make_unique<int>(5)](int x) { return x + *number; });
    const auto moved = std::make_unique<Adder>(std::move(adder));
    CHECK((*moved)(2) == 7);
  }

  TEST_CASE("one whose move may throw stays where it is") {
    Adder first{MayThrow()};
    Adder second(std::move(first));
    const auto third = std::make_unique<Adder>(std::move(second));
    CHECK((*third)(3) == 3);
  }
}
