// SPDX-License-Identifier: BSL-1.0

// Whoever allocates shared memory, or frees it, is killed or stopped at every instruction: the block is
// in its place, or nowhere and free, and nothing leaks, however often that happens.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

using crash::At;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using kin::detail::Heap;
using kin::detail::Place;
using namespace std::chrono_literals;

namespace {

const std::string in_place = "in place";
const std::string nothing = "nothing";

constexpr std::size_t run_size = 200'000;
constexpr std::size_t run_chunks = 4;

/// Places for blocks, and what the heap had when all of them were empty.
///
/// The same from round to round, and never made good by anything but the heap's own recovery.
class Store {
 public:
  explicit Store(std::size_t size) : size_(size) {
    sweep_the_dead();
    fill(2);  // so that the class has its chunk
    clear();
    empty_ = Heap::statistics();
  }
  ~Store() { clear(); }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  Place& place(std::size_t index) const { return (*places_)[index]; }

  /// For a round: `count` of them are filled.
  void prepare(std::size_t count) const {
    sweep_the_dead();
    clear();
    fill(count);
  }
  void allocate(std::size_t index) const { Heap::allocate_into(place(index), size_); }
  void free(std::size_t index) const { Heap::free_from(place(index)); }

  /// Whether the block is in this place; every statistic must agree with what is in all places.
  std::string look(std::size_t index) const {
    Heap::recover();
    require_true_statistics();
    const std::string outcome = place(index) ? in_place : nothing;
    // The next one that is allocated is another, and has nothing of a previous life in it.
    allocate(most - 1);
    require_distinct();
    const std::span block(place(most - 1).address(),
                          Heap::is_run(size_) ? Heap::front_of_run : size_);
    require(std::ranges::all_of(block, [](std::byte byte) { return byte == std::byte{}; }),
            "a block is not zero");
    std::fill_n(block.begin(), std::min<std::size_t>(size_, 64), std::byte{0xff});
    free(most - 1);
    require_true_statistics();
    return outcome;
  }

  crash::Ranges watch() const {
    return crash::both(crash::memory_of_heap(), {crash::memory_of(*places_)});
  }

 private:
  static constexpr std::size_t most = 96;

  std::size_t size_;
  crash::SharedPage<std::array<Place, most>> places_;
  Heap::Statistics empty_;

  void fill(std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) allocate(i);
  }
  void clear() const {
    for (Place& one : *places_) Heap::free_from(one);
  }
  std::size_t filled() const {
    return static_cast<std::size_t>(
        std::count_if(places_->begin(), places_->end(), [](const Place& one) { return !!one; }));
  }
  void require_true_statistics() const {
    const Heap::Statistics now = Heap::statistics();
    if (Heap::is_run(size_)) {
      require(now.chunks == empty_.chunks + filled() * run_chunks, "chunks leaked, or were lost");
    } else {
      require(now.cells == empty_.cells + filled(), "blocks leaked, or were lost");
    }
  }
  void require_distinct() const {
    std::vector<const std::byte*> blocks;
    for (const Place& one : *places_) {
      if (one) blocks.push_back(one.address());
    }
    std::sort(blocks.begin(), blocks.end());
    require(std::adjacent_find(blocks.begin(), blocks.end()) == blocks.end(),
            "a block is in two places");
  }
};

std::string outcome_of_allocate(const Moment& moment, const Store& store, std::size_t index) {
  const std::string outcome = store.look(index);
  require(outcome == in_place || !moment.completed, "it returned and the place is empty");
  return outcome;
}

std::string outcome_of_free(const Moment& moment, const Store& store, std::size_t index) {
  const std::string outcome = store.look(index);
  require(outcome == nothing || !moment.completed, "it returned and the place is filled");
  return outcome;
}

void prove_allocate_and_free(const std::string& what, std::size_t size,
                             std::chrono::seconds budget = 0s) {
  const Store store(size);
  crash::prove({
      .name = "allocate " + what,
      .prepare = [&] { store.prepare(1); },
      .operation = [&] { store.allocate(1); },
      .check = [&](const Moment& moment) { return outcome_of_allocate(moment, store, 1); },
      .expected = {nothing, in_place},
      .bulk = 64,
      .budget = budget,
  });
  crash::prove({
      .name = "free " + what,
      .prepare = [&] { store.prepare(2); },
      .operation = [&] { store.free(1); },
      .check = [&](const Moment& moment) { return outcome_of_free(moment, store, 1); },
      .expected = {nothing, in_place},
  });
}

/// Beside whoever is stopped in it others use what has a lock of its own.
void prove_stopped(const std::string& what, const Store& store, const Store& other,
                   std::chrono::seconds budget) {
  crash::prove({
      .name = what,
      .prepare = [&] { store.prepare(1); },
      .operation =
          [&] {
            store.allocate(1);
            store.free(0);
          },
      .check = [&](const Moment&) { return store.look(1) + ", " + store.look(0); },
      .expected = {in_place + ", " + nothing},
      .with = With::stop,
      .while_stopped =
          [&] {
            other.allocate(0);
            other.free(0);
          },
      .budget = budget,
  });
}

/// One allocates into place 2 and frees 0, and whoever comes next does it with 3 and 1.
void prove_recovery(const std::string& what, const Store& store) {
  crash::Scenario scenario{
      .name = what + " after killed ones",
      .prepare = [&] { store.prepare(2); },
      .operation =
          [&] {
            store.allocate(2);
            store.free(0);
          },
      .check = [&](const Moment& moment) -> std::string {
        std::string outcome;
        for (const std::size_t i : {2U, 0U, 3U, 1U})
          outcome += store.look(i) == in_place ? '1' : '0';
        require(outcome.starts_with("10") || !moment.first_completed, "the first is undone");
        require(outcome.ends_with("10") || !moment.completed, "it returned and has not done it");
        return outcome;
      },
      .expected = {"0101", "1101", "1001", "0111", "1111", "1011", "0110", "1110", "1010"},
      .at = At::every_change,
      .watch = [&] { return store.watch(); },
      .recovery =
          [&] {
            store.allocate(3);
            store.free(1);
          },
      .budget = 5s,
  };
  crash::prove_at_changes_and_instructions(scenario, 1s);
}

}  // namespace

TEST_SUITE("heap") {
  TEST_CASE("cells are allocated and freed") {
    prove_allocate_and_free("32 bytes", 32);
    prove_allocate_and_free("1000 bytes", 1000);
    prove_allocate_and_free("the largest cell", 16512, 4s);
  }

  TEST_CASE("runs of chunks are allocated and freed") {
    prove_allocate_and_free("a run of chunks", run_size);
  }

  TEST_CASE("a chunk is taken for cells, and given back") {
    constexpr std::size_t to_a_chunk = 42;
    const Store store(1536);
    crash::prove({
        .name = "allocate a cell in a new chunk",
        .prepare = [&] { store.prepare(2 * to_a_chunk); },
        .operation = [&] { store.allocate(2 * to_a_chunk); },
        .check =
            [&](const Moment& moment) {
              return outcome_of_allocate(moment, store, 2 * to_a_chunk);
            },
        .expected = {nothing, in_place},
    });
    crash::prove({
        .name = "free the last cell of a chunk",
        .prepare =
            [&] {
              store.prepare(2 * to_a_chunk + 1);
              for (std::size_t i = 0; i < to_a_chunk; ++i) store.free(i);  // the spare one
            },
        .operation = [&] { store.free(2 * to_a_chunk); },
        .check =
            [&](const Moment& moment) { return outcome_of_free(moment, store, 2 * to_a_chunk); },
        .expected = {nothing, in_place},
    });
  }

  TEST_CASE("others allocate and free at the same time") {
    const Store store(64);
    crash::prove({
        .name = "allocate and free beside others",
        .prepare = [&] { store.prepare(1); },
        .operation =
            [&] {
              store.allocate(1);
              store.free(0);
            },
        .check = [&](const Moment& moment) -> std::string {
          const std::string outcome = store.look(1) + ", " + store.look(0);
          require(outcome == in_place + ", " + nothing || !moment.completed, "it did not finish");
          return outcome;
        },
        .expected = {nothing + ", " + in_place, in_place + ", " + in_place,
                     in_place + ", " + nothing},
        .partner =
            [&] {
              store.allocate(2);
              store.free(2);
            },
        .partner_every = 4,
    });
  }

  TEST_CASE("whoever allocates is stopped, and goes on later") {
    const Store other(300);
    const Store store(64);
    const Store runs(run_size);
    prove_stopped("allocate and free", store, other, 0s);
    prove_stopped("allocate and free runs", runs, other, 2s);
  }

  TEST_CASE("whoever comes next is killed too") {
    prove_recovery("allocate and free", Store(64));
    prove_recovery("allocate and free runs", Store(run_size));
  }
}
