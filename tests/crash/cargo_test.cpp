// SPDX-License-Identifier: BSL-1.0

// Whoever sends handles is killed, or stopped, where the cargo is loaded: it arrives whole, or nobody
// ever hears of it.
//
// Fails when a run names its place before its front is zeroed, or when a handle of a cargo is counted
// before its address is there.

#include "channel/cargo.hpp"
#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using kin::detail::Heap;
using namespace std::chrono_literals;

namespace {

using Inner = kin::Queue<int>;
using Outer = kin::Queue<std::vector<Inner>>;

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";

/// Leaves rubbish where the next run will be, as if the kernel had refused to discard what was there.
void litter_the_next_run(std::size_t size) {
  kin::detail::Place place{};
  std::byte* const block = Heap::allocate_into(place, size);
  Heap::free_from(place);
  kin::detail::populate(block, size);
  std::fill_n(block, size, std::byte{0xff});
}

}  // namespace

TEST_SUITE("cargo") {
  TEST_CASE("so many handles are sent that their cargo is a run, in memory that is not zero") {
    constexpr std::size_t count = 2100;
    constexpr std::size_t size = sizeof(kin::detail::Cargo) + count * sizeof(void*);
    REQUIRE(Heap::is_run(size));
    {
      // A process keeps the list of its claims as long as it ever was.
      const Outer first;
      first.put(std::vector<Inner>(count, Inner()));
      static_cast<void>(first.get());
    }
    const crash::Balance balance;
    std::optional<Inner> inner(std::in_place);
    std::vector<Inner> many(count, *inner);
    std::optional<Outer> queue(std::in_place);
    queue->put(many);  // so that its ring is no new run beside the cargo
    static_cast<void>(queue->get());
    crash::prove({
        .name = "put of 2100 handles, as it begins to load them",
        .prepare =
            [&] {
              sweep_the_dead();
              litter_the_next_run(size);
            },
        .operation = [&] { queue->put(many); },
        .check = [&](const Moment&) -> std::string {
          // Takes the tail lock, and with it what the dead one was loading.
          queue->put({*inner});
          const auto first = queue->get();
          if (first.size() == 1) return never_sent;
          require(first.size() == count && queue->get().size() == 1, "it is torn");
          return sent_whole;
        },
        .expected = {never_sent},
        .lead = {.word = [] { return &kin::detail::arena().heap->run_intent.block_and_action; },
                 .stores = 1,
                 .window = 400},
        .budget = 5s,
    });
    many.clear();
    inner.reset();
    queue.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
