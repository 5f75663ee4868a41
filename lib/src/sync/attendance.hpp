// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "memory/process_table.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kin::detail {

/// Which processes came to a barrier, and to which generation last: for those who wait there and want to
/// know whether all of them live.
///
///     attendance.note(generation, arrived == 0);  // before it arrives
///     attendance.find(generation, [](Stamp process) { return is_gone(process); });
///
/// A process has one note, whatever number of threads it comes with: it lives, or it does not.
/// Writers: of a note the process whose it is; forget_before() takes away old ones.
/// If a process dies: its note stays, until the next process with its slot comes.
struct Attendance {
  /// The notes of so many slots. Neighbours, who are likely to meet, don't share a cache line.
  struct Block {
    static constexpr std::size_t size = 64;
    std::array<std::atomic<std::uint64_t>, size> notes;

    static constexpr std::size_t place_of(std::size_t slot) { return slot % 8 * 8 + slot / 8 % 8; }
  };

  /// Room for a process's note; throws std::bad_alloc. The first of 64 processes makes it.
  void make_room(Stamp process);
  /// Notes that this process comes to that generation. False: another had its slot before, came to this
  /// generation too, and is gone. If nobody has arrived yet then that one had not, and nothing is lost.
  bool note(std::uint32_t generation, bool nobody_arrived);
  /// One that came last to that generation, and of which `is_it` holds; 0 if there is none.
  [[nodiscard]] Stamp find(std::uint32_t generation, FunctionRef<bool(Stamp)> is_it) const;
  /// Generations are counted in 32 bits: so that no note is there when its number comes again.
  void forget_before(std::uint32_t generation) const;
  /// For a destroyer.
  void free();

  // By slot. Made when they are needed, and there for as long as the barrier.
  std::array<Owned<Block>, ProcessTable::most / Block::size> blocks;
};

}  // namespace kin::detail
