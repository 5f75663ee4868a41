// SPDX-License-Identifier: BSL-1.0

// Whoever sends or receives what goes beside the bytes of a message (handles, descriptors, ends of pipes) is
// killed where the cargo is loaded and unloaded: it arrives whole and works, or nobody ever hears of it, and
// nothing stays open.
//
// Fails when a run names its place before its front is zeroed, or when a handle of a cargo is counted
// before its address is there; when a cargo's descriptors are stored before their id is noted: "something of the
// round before is left open".

#include "channel/cargo.hpp"
#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "crash/shipment.hpp"
#include "memory/arena.hpp"

#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

using crash::Moment;
using crash::require;
using crash::Shipment;
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

const std::string still_there = "still there";
const std::string taken = "taken";

}  // namespace

TEST_SUITE("cargo") {
  TEST_CASE("a descriptor, the end of a pipe and a queue are sent") {
    Shipment<crash::QueueRoad> shipment;
    shipment.prepare_sent();
    shipment.forget();
    const crash::Balance balance;
    crash::prove({
        .name = "put of a descriptor, an end and a queue",
        .prepare = [&] { shipment.prepare(); },
        .operation = [&] { shipment.send(); },
        .check = [&](const Moment& moment) -> std::string {
          const bool arrives = shipment.arrives();
          require(arrives || !moment.completed, "put() returned, and it does not arrive");
          if (!arrives) {
            shipment.send();
            require(shipment.arrives(), "what comes next does not arrive");
          }
          return arrives ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .at = crash::At::every_change,
        .watch = [&] { return shipment.changes(); },
        .budget = 3s,
    });
    shipment.prepare();
    CHECK_FALSE(shipment.stays_open());
    shipment.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a descriptor, the end of a pipe and a queue are received, and dropped") {
    Shipment<crash::QueueRoad> shipment;
    shipment.prepare_sent();
    shipment.forget();
    const crash::Balance balance;
    crash::prove({
        .name = "get of a descriptor, an end and a queue",
        .prepare = [&] { shipment.prepare_sent(); },
        .operation = [&] { shipment.receive_and_drop(); },
        .check = [&](const Moment& moment) -> std::string {
          const bool arrives = shipment.arrives();
          require(!arrives || !moment.completed, "get() returned, and it is still there");
          shipment.require_closed();
          return arrives ? still_there : taken;
        },
        .expected = {still_there, taken},
        .at = crash::At::every_change,
        .watch = [&] { return shipment.changes(); },
        .budget = 3s,
    });
    shipment.prepare();
    CHECK_FALSE(shipment.stays_open());
    shipment.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

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
