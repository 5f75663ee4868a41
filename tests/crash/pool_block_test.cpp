// SPDX-License-Identifier: BSL-1.0

// A pool's parent is killed at every instruction of taking a large block for a task, from those that the
// pool keeps or from the heap, and of giving it back: the block is the task's or the pool's, and is freed
// with them, once.
//
// Fails when take_block() takes the block from the spares before it is the task's: "is nobody's".

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "nursery/pool_state.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using kin::detail::Heap;
using kin::detail::Place;
using kin::detail::PoolMemory;
using namespace std::chrono_literals;

namespace {

const std::string of_the_task = "the task's";
const std::string of_the_pool = "the pool's";
const std::string of_both = "both's";
const std::string all_freed = "all freed";

constexpr std::size_t block_size = 300'000;

/// A pool's memory, with a task that has a large block, or has given it back.
class Blocks {
 public:
  // The heap keeps an empty chunk of each kind that a pool needs, from the first pool on.
  Blocks() { PoolMemory(1U); }

  void prepare(bool is_taken) {
    forget();
    sweep_the_dead();
    before_ = Heap::statistics();
    memory_.emplace(1U);
    kin::detail::add_slots(memory_->state());
    take();
    address_ = place().address();
    if (!is_taken) give_back();
  }
  void forget() { memory_.reset(); }

  void take() { kin::detail::take_block(memory_->state(), place(), block_size); }
  void give_back() { kin::detail::give_back_block(memory_->state(), place()); }

  /// Whose the block is.
  std::string owner() {
    const bool is_tasks = place() && place().address() == address_;
    const auto is_it = [&](const Place& spare) { return spare && spare.address() == address_; };
    const auto spares = std::ranges::count_if(memory_->state().spares, is_it);
    require(spares <= 1, "it is a spare twice");
    require(is_tasks || spares == 1, "is nobody's");
    if (is_tasks) return spares == 1 ? of_both : of_the_task;
    return of_the_pool;
  }
  /// For a survivor that has no pool: all that the dead one had is free again.
  void require_freed() const {
    sweep_the_dead();
    Heap::recover();
    const Heap::Statistics now = Heap::statistics();
    require(now.cells == before_.cells,
            "cells: " + std::to_string(now.cells) + " instead of " + std::to_string(before_.cells));
    require(now.chunks == before_.chunks, "chunks: " + std::to_string(now.chunks) + " instead of " +
                                              std::to_string(before_.chunks));
  }

 private:
  Place& place() { return memory_->state().slots(0)[0].arguments_block; }

  std::optional<PoolMemory> memory_;
  const std::byte* address_ = nullptr;
  Heap::Statistics before_;
};

}  // namespace

TEST_SUITE("pool block") {
  TEST_CASE("a kept block is taken") {
    const crash::Balance balance;
    Blocks blocks;
    crash::prove({
        .name = "take of a kept block",
        .prepare = [&] { blocks.prepare(false); },
        .operation = [&] { blocks.take(); },
        .check = [&](const Moment& moment) -> std::string {
          const std::string owner = blocks.owner();
          require(!moment.completed || owner == of_the_task, "it was taken, and is " + owner);
          return owner;
        },
        .expected = {of_the_pool, of_both, of_the_task},
        .budget = 2s,
    });
    blocks.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a block is given back") {
    const crash::Balance balance;
    Blocks blocks;
    crash::prove({
        .name = "give-back of a block",
        .prepare = [&] { blocks.prepare(true); },
        .operation = [&] { blocks.give_back(); },
        .check = [&](const Moment& moment) -> std::string {
          const std::string owner = blocks.owner();
          require(!moment.completed || owner == of_the_pool, "it was given back, and is " + owner);
          return owner;
        },
        .expected = {of_the_pool, of_both, of_the_task},
        .budget = 2s,
    });
    blocks.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("the parent that has blocks dies, and whoever sweeps frees them") {
    const crash::Balance balance;
    Blocks blocks;
    crash::prove({
        .name = "take and give-back, by the only one who has the pool",
        .prepare = [&] { blocks.prepare(false); },
        .operation =
            [&] {
              blocks.take();
              blocks.give_back();
              blocks.take();
            },
        .check = [&](const Moment&) -> std::string {
          blocks.require_freed();
          return all_freed;
        },
        .expected = {all_freed},
        .let_go = [&] { blocks.forget(); },
        .budget = 2s,
    });
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
