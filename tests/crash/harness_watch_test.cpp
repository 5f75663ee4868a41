// SPDX-License-Identifier: BSL-1.0

// What is watched is all that an operation changes: of a store that is not, no scenario that kills at every
// change would know.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <string>

using crash::At;
using crash::Moment;
using kin::detail::Heap;
using kin::detail::Place;

namespace {

/// What a chunk says of its cells, as heap.cpp lays it out: a count, and a bit for each.
struct ChunkFront {
  std::uint32_t count;
  std::array<std::uint64_t, 32> bitmap;

  static ChunkFront around(const void* block) {
    ChunkFront front{};
    std::memcpy(&front, crash::chunk_around(block).data(), sizeof(front));
    return front;
  }
  [[nodiscard]] int bits() const {
    return std::accumulate(bitmap.begin(), bitmap.end(), 0,
                           [](int sum, std::uint64_t word) { return sum + std::popcount(word); });
  }
};

/// Of the chunk words.
std::size_t chunks_in_use() {
  kin::detail::HeapState& heap = *kin::detail::arena().heap;
  std::size_t count = 0;
  for (std::size_t i = 0; i < heap.high_water.load(); ++i) count += heap.word(i).load() != 0;
  return count;
}

/// Stopped, and looked at: a death would be repaired before anybody can look.
void prove_allocate(const std::string& name, Place& place, std::size_t size,
                    const std::function<void()>& look) {
  crash::prove({
      .name = name,
      .prepare = [&] { Heap::free_from(place); },
      .operation = [&] { Heap::allocate_into(place, size); },
      .check = [&](const Moment&) { return place ? "in place" : "nothing"; },
      .expected = {"in place"},
      .with = crash::With::stop,
      .at = At::every_change,
      .watch = [&] { return crash::both(crash::memory_of_heap(), {crash::memory_of(place)}); },
      .while_stopped = look,
  });
}

}  // namespace

TEST_SUITE("harness") {
  TEST_CASE("of an allocation each step is a kill point: the bit, the count, the place") {
    constexpr std::size_t size = 320;
    const crash::SharedPage<std::array<Place, 2>> places;
    const crash::SharedPage<std::array<std::atomic<bool>, 8>> seen;
    Heap::allocate_into((*places)[0], size);
    const auto front = [&] { return ChunkFront::around((*places)[0].address()); };
    const ChunkFront before = front();
    prove_allocate("harness: allocate", (*places)[1], size, [&] {
      const ChunkFront now = front();
      const bool has_bit = now.bits() != before.bits();
      const bool has_count = now.count != before.count;
      (*seen)[(has_bit ? 1U : 0U) + (has_count ? 2U : 0U) + ((*places)[1] ? 4U : 0U)] = true;
    });
    CHECK((*seen)[0]);
    CHECK((*seen)[1]);
    CHECK((*seen)[1 + 2]);
    CHECK((*seen)[1 + 2 + 4]);
    for (Place& place : *places) Heap::free_from(place);
  }

  TEST_CASE("of a run the word of its chunk is a kill point") {
    constexpr std::size_t size = 200'000;
    const crash::SharedPage<Place> place;
    const crash::SharedPage<std::array<std::atomic<bool>, 8>> seen;
    const std::atomic<std::uint32_t>& first_free = kin::detail::arena().heap->first_free;
    Heap::allocate_into(*place, size);
    Heap::free_from(*place);
    const std::size_t before = chunks_in_use();
    const std::uint32_t first_free_before = first_free;
    prove_allocate("harness: allocate a run", *place, size, [&] {
      const bool has_word = chunks_in_use() != before;
      const bool has_hint = first_free != first_free_before;
      (*seen)[(has_word ? 1U : 0U) + (has_hint ? 2U : 0U) + (*place ? 4U : 0U)] = true;
    });
    CHECK((*seen)[0]);
    CHECK((*seen)[1]);
    CHECK((*seen)[1 + 2 + 4]);
    Heap::free_from(*place);
  }

  TEST_CASE("of a put that grows each step of the new ring is a kill point") {
    constexpr int first_ring = 128;
    std::optional<kin::Queue<int>> queue;
    const auto channel = [&]() -> kin::detail::ByteChannel& { return crash::channel_of(*queue); };
    crash::prove({
        .name = "harness: put that grows",
        .prepare =
            [&] {
              crash::sweep_the_dead();
              queue.emplace();
              for (int i = 0; i < first_ring; ++i) queue->put(i);
            },
        .operation = [&] { queue->put(-1); },
        .check = [&](const Moment&) -> std::string {
          const kin::detail::Segment* const old = channel().head_segment.get();
          std::string outcome;
          if (const kin::detail::Segment* ring = channel().linking.get(); ring != nullptr) {
            outcome += ring->mask == 0 ? "empty " : "made ";
          }
          if (old->next) outcome += "linked ";
          if (channel().tail_segment.load() != old) outcome += "used ";
          if (crash::puts_into(*queue) > first_ring) outcome += "put";
          return outcome.empty() ? "nothing" : outcome;
        },
        .expected = {"nothing", "empty ", "made ", "made linked ", "linked ", "linked used ",
                     "linked used put"},
        .at = At::every_change,
        .watch = [] { return crash::memory_of_family(); },
    });
  }
}
