// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/process_table.hpp"
#include "waiting/parking.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace kin::detail {

struct ByteChannel;

/// What one process has taken from a JoinableQueue, and how much of it is done.
struct Taker {
  std::atomic<Stamp> who;
  std::atomic<std::uint32_t> taken;
  std::atomic<std::uint32_t> done;  // may exceed `taken`: a process may finish what another took
  std::atomic<pid_t> pid;           // kept: its slot may be another's when its death is noticed
};

struct TakerBlock {
  Owned<TakerBlock> next;
  std::array<Taker, 15> takers;
};

/// The book of a JoinableQueue: what is unfinished, and who has it. Guarded by the channel's head lock.
///
/// Every change is told in `entry` before it is made, with the values that will hold after it; so the
/// next holder of the lock can make it again.
struct Ledger {
  struct Entry {
    std::atomic<Taker*> taker;  // null: nothing is being written
    std::atomic<std::uint32_t>
        position;  // holds if the head is there: taking commits with the head
    std::atomic<Stamp> who;
    std::atomic<pid_t> pid;
    std::atomic<std::uint32_t> taken;
    std::atomic<std::uint32_t> done;
    std::atomic<std::uint32_t> finished;
    std::atomic<std::uint32_t> lost;
  };
  static constexpr std::size_t most_pids = 16;

  bool kept;                             // this channel is a JoinableQueue
  std::atomic<std::uint32_t> finished;   // how many messages are done, or lost with their takers
  std::atomic<std::uint32_t> lost;       // how many of these were lost
  std::atomic<std::uint32_t> lost_told;  // how many of these a join() has reported
  std::array<std::atomic<std::int32_t>, most_pids>
      lost_pids;  // takers of the last ones that were lost
  std::atomic<std::uint32_t> lost_takers;
  Owned<TakerBlock> takers;
  Entry entry;
  ParkingSpot all_done;
};

/// With the head lock held, before the head moves to `position`: this process takes a message.
void note_taking(ByteChannel& channel, std::uint32_t position);
/// After it has moved.
void note_taken(ByteChannel& channel);
/// Part of the recovery of the head lock.
void recover_ledger(ByteChannel& channel);

/// One message is done. Throws std::logic_error when more are done than were put.
void task_done(ByteChannel& channel);
/// Waits until all that was put is done; false when the time is up. Throws OwnerDied when it is over,
/// but takers died with messages that they had not finished.
bool join(ByteChannel& channel, Deadline deadline);

}  // namespace kin::detail
