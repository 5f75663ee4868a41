// SPDX-License-Identifier: BSL-1.0

#include "memory/heap.hpp"

#include "frame.hpp"
#include "support/again.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <span>
#include <vector>

using kin::detail::arena;
using kin::detail::BlockKind;
using kin::detail::chunk_size;
using kin::detail::Heap;
using kin::detail::Owned;
using kin::detail::Place;

namespace {

// The frame of a case that gives back all that it takes.
class HeapFrame : unit::Frame {
 public:
  HeapFrame() = default;
  HeapFrame(const HeapFrame&) = delete;
  HeapFrame& operator=(const HeapFrame&) = delete;
  ~HeapFrame() {
    const auto now = Heap::statistics();
    CHECK(now.cells == before_.cells);
    CHECK(now.cell_bytes == before_.cell_bytes);
  }
  [[nodiscard]] std::size_t more_chunks() const {
    return Heap::statistics().chunks - before_.chunks;
  }

 private:
  Heap::Statistics before_ = Heap::statistics();
};

// Several owners of blocks. Places don't move.
struct Places {
  explicit Places(std::size_t number) : all(std::make_unique<Place[]>(number)), count(number) {}
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;
  ~Places() {
    for (Place& place : each()) Heap::free_from(place);
  }
  [[nodiscard]] std::span<Place> each() const { return {all.get(), count}; }

  std::unique_ptr<Place[]> all;  // NOLINT(modernize-avoid-c-arrays)
  std::size_t count;
};

std::uintptr_t number(const std::byte* address) {
  return reinterpret_cast<std::uintptr_t>(address);
}

bool all_are(std::span<const std::byte> bytes, std::byte value) {
  return std::ranges::all_of(bytes, [&](std::byte one) { return one == value; });
}

struct Link {
  Owned<Link> next;
};

}  // namespace

TEST_SUITE("heap") {
  TEST_CASE_FIXTURE(HeapFrame, "a cell is zeroed, aligned, and large enough, whatever its size") {
    for (std::size_t size = 0; !Heap::is_run(size); size += size < 200 ? 1 : 97) {
      CAPTURE(size);
      Place place{};
      std::byte* block = Heap::allocate_into(place, size);
      REQUIRE(block == place.address());
      CHECK(number(block) % 32 == 0);
      CHECK(all_are({block, size}, std::byte{0}));
      std::memset(block, 0xff, size);  // the next of its size is zeroed all the same
      Heap::free_from(place);
      CHECK_FALSE(place);
    }
  }

  TEST_CASE_FIXTURE(HeapFrame, "the front of a run is zeroed, whatever was there") {
    constexpr std::size_t size = 100'000;
    Place place{};
    std::byte* const block = Heap::allocate_into(place, size);
    CHECK(all_are({block, Heap::front_of_run}, std::byte{0}));
    Heap::free_from(place);
    // As if the kernel had refused to discard it.
    kin::detail::populate(block, size);
    std::memset(block, 0xff, size);
    REQUIRE(Heap::allocate_into(place, size) == block);
    CHECK(all_are({block, Heap::front_of_run}, std::byte{0}));
    Heap::free_from(place);
  }

  TEST_CASE_FIXTURE(HeapFrame, "blocks do not overlap") {
    std::mt19937 random(1);
    std::uniform_int_distribution<std::size_t> any_size(1, 40'000);
    const Places places(400);
    std::vector<std::span<std::byte>> blocks;
    for (Place& place : places.each()) {
      const std::size_t size = any_size(random);
      std::byte* block = Heap::allocate_into(place, size);
      if (Heap::is_run(size)) kin::detail::populate(block, size);
      blocks.emplace_back(block, size);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      std::memset(blocks[i].data(), static_cast<int>(i % 251), blocks[i].size());
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      CHECK(all_are(blocks[i], static_cast<std::byte>(i % 251)));
    }
  }

  TEST_CASE_FIXTURE(HeapFrame, "a place that is filled is left as it is, a clear one stays clear") {
    Place place{};
    Heap::free_from(place);
    CHECK_FALSE(place);
    std::byte* cell = Heap::allocate_into(place, 100);
    CHECK(Heap::allocate_into(place, 100) == cell);
    CHECK(Heap::allocate_into(place, 3000) == cell);
    Heap::free_from(place);
    std::byte* run = Heap::allocate_into(place, 100'000);
    CHECK(Heap::allocate_into(place, 100'000) == run);
    Heap::free_from(place);
    Heap::free_from(place);
  }

  TEST_CASE_FIXTURE(HeapFrame, "what is freed is used again: the arena does not grow") {
    const auto high_water = [] { return arena().heap->high_water.load(); };
    std::mt19937 random(2);
    std::uniform_int_distribution<std::size_t> any_size(1, 300'000);
    const auto churn = [&] {
      const Places places(20);
      for (Place& place : places.each()) Heap::allocate_into(place, any_size(random));
    };
    for (int i = 0; i < 50; ++i) churn();
    const auto settled = high_water();
    for (int i = 0; i < 500; ++i) churn();
    // A hole may be a little too small now and then.
    CHECK(high_water() <= settled + 2 * 20 * 5);
  }

  TEST_CASE_FIXTURE(HeapFrame, "emptied chunks become free again, but for one of a size") {
    {
      const Places places(3000);
      for (Place& place : places.each()) Heap::allocate_into(place, 1000);
      CHECK(more_chunks() > 30);
    }
    CHECK(more_chunks() <= 1);
    {
      Place place{};
      Heap::allocate_into(place, 20 * chunk_size);
      CHECK(more_chunks() >= 20);
      Heap::free_from(place);
    }
    CHECK(more_chunks() <= 1);
  }

  TEST_CASE_FIXTURE(HeapFrame, "memory that held objects never holds anything else") {
    constexpr std::size_t count = 2000;
    std::set<std::uintptr_t> object_chunks;
    const auto chunk_of = [](const Place& place) {
      return (number(place.address()) - number(arena().chunks)) / chunk_size;
    };
    const auto kinds = {BlockKind::channel, BlockKind::lock, BlockKind::pool, BlockKind::manager};
    for (const BlockKind kind : kinds) {
      const Places objects(count);
      for (Place& place : objects.each()) {
        Heap::allocate_into(place, 200, kind);
        object_chunks.insert(chunk_of(place));
      }
    }
    const Places others(count);
    const std::array sizes{Heap::channel_size, Heap::lock_size, Heap::pool_size,
                           Heap::manager_size};
    std::size_t i = 0;
    for (Place& place : others.each()) {
      Heap::allocate_into(place, sizes[++i % sizes.size()]);
      CHECK_FALSE(object_chunks.contains(chunk_of(place)));
    }
    for (const BlockKind kind : kinds) {
      const Places again(count);
      for (Place& place : again.each()) {
        Heap::allocate_into(place, 200, kind);
        CHECK(object_chunks.contains(chunk_of(place)));
      }
    }
  }

  TEST_CASE_FIXTURE(HeapFrame, "a chain is freed as a whole") {
    Owned<Link> first{};
    Owned<Link>* end = &first;
    for (int i = 0; i < 100; ++i) {
      Heap::allocate_into(*end, sizeof(Link));
      end = &(*end)->next;
    }
    Heap::free_chain(first);
    CHECK_FALSE(first);
    Heap::free_chain(first);
  }

  TEST_CASE_FIXTURE(HeapFrame, "one process frees what another allocated") {
    Place place{};
    auto* shared = reinterpret_cast<Places*>(Heap::allocate_into(place, 200 * sizeof(Place)));
    const std::span<Place> places(reinterpret_cast<Place*>(shared), 200);
    unit::Relative child([&] {
      for (std::size_t i = 0; i < places.size(); ++i) {
        Heap::allocate_into(places[i], i % 2 == 0 ? 50 * i : 20'000);
      }
      return "done";
    });
    CHECK(child.answer() == "done");
    for (Place& one : places) {
      CHECK(one);
      Heap::free_from(one);
    }
    Heap::free_from(place);
  }

  TEST_CASE_FIXTURE(HeapFrame, "recovery changes nothing where nobody died") {
    const Places places(100);
    std::size_t size = 0;
    for (Place& place : places.each()) Heap::allocate_into(place, size += 300);
    const auto before = Heap::statistics();
    Heap::recover();
    const auto after = Heap::statistics();
    CHECK(after.chunks == before.chunks);
    CHECK(after.cells == before.cells);
    CHECK(after.cell_bytes == before.cell_bytes);
  }

  TEST_CASE_FIXTURE(HeapFrame, "a process that is killed somewhere in it harms nobody else") {
    // At every instruction: tests/crash. Here where it happens to be.
    Place table{};
    constexpr std::size_t count = 16;
    const std::span<Place> places(
        reinterpret_cast<Place*>(Heap::allocate_into(table, count * sizeof(Place))), count);
    const crash::SharedPage<std::atomic<int>> rounds;
    for (int i = 0; i < 30; ++i) {
      const int seen = *rounds;
      unit::Relative child([&] {
        while (true) {
          for (std::size_t at = 0; at < count; ++at) Heap::allocate_into(places[at], 1000 * at);
          for (Place& place : places) Heap::free_from(place);
          ++*rounds;
        }
        return "";
      });
      CHECK(unit::eventually([&] { return *rounds > seen + i; }));
      child.end();
      Heap::recover();
      for (Place& place : places) Heap::free_from(place);
    }
    Heap::free_from(table);
  }

  TEST_CASE("when the arena is full an allocation throws and all else goes on") {
    if (!support::is_again()) {
      CHECK(support::again("when the arena is full an allocation throws and all else goes on",
                           "16777216") == "");
      return;
    }
    const HeapFrame frame;
    const std::size_t whole = arena().chunk_count * chunk_size;
    Place place{};
    CHECK_THROWS_AS(Heap::allocate_into(place, whole + 1), std::bad_alloc);
    CHECK_THROWS_AS(Heap::allocate_into(place, std::size_t{1} << 60), std::bad_alloc);
    CHECK_FALSE(place);
    for (const std::size_t size : {std::size_t{1000}, std::size_t{100'000}}) {
      const Places places(20'000);
      std::size_t had = 0;
      CHECK_THROWS_AS(
          [&] {
            for (Place& one : places.each()) {
              Heap::allocate_into(one, size);
              ++had;
            }
          }(),
          std::bad_alloc);
      CHECK(had > 100);
      CHECK(places.each()[had - 1]);
      CHECK_FALSE(places.each()[had]);
      // What is given back can be had again.
      Heap::free_from(places.each()[had / 2]);
      CHECK_NOTHROW(Heap::allocate_into(places.each()[had / 2], size));
    }
    CHECK_NOTHROW(Heap::allocate_into(place, whole / 2));
    Heap::free_from(place);
  }
}
