// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "frame.hpp"

#include "channel/byte_channel.hpp"
#include "memory/heap.hpp"
#include "support/sweep.hpp"

#include <memory>
#include <vector>

namespace unit {

/// The frame of a case that also gives back what it takes of the arena.
class ArenaFrame : Frame {
 public:
  ArenaFrame() = default;
  ArenaFrame(const ArenaFrame&) = delete;
  ArenaFrame& operator=(const ArenaFrame&) = delete;
  ~ArenaFrame() {
    const auto now = kin::detail::Heap::statistics();
    CHECK(now.cells == before_.cells);
    CHECK(now.cell_bytes == before_.cell_bytes);
  }

 private:
  static kin::detail::Heap::Statistics statistics_then() {
    // This process's list of claims grows, and stays as long as it was.
    static const bool has_grown = [] {
      std::vector<std::shared_ptr<kin::detail::Claim>> most(2500);
      for (auto& one : most) one = kin::detail::make_channel({});
      return true;
    }();
    static_cast<void>(has_grown);
    // What cases before this one left to be swept would go during this one. Zombies are looked for
    // every eighth time round.
    for (int round = 0; round < 8; ++round) support::sweep_the_dead();
    return kin::detail::Heap::statistics();
  }
  kin::detail::Heap::Statistics before_ = statistics_then();
};

}  // namespace unit
