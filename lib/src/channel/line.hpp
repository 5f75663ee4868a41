// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

struct ByteChannel;

/// This process's descriptors for a channel, in the hands of who uses it: how to reach those that wait
/// for it in poll(), and the news that only the kernel has. All of it is for slow moments; a put and a
/// get that find what they want make no call.
class Line {
 public:
  /// Makes the descriptor that readers poll readable, in every process that has it.
  virtual void ring() noexcept = 0;
  /// And no longer. With both locks of the channel held, which is empty.
  virtual void silence() noexcept = 0;
  /// Whether nobody holds the other end any more. False where an end has no meaning.
  virtual bool peer_is_gone() = 0;
  /// In the middle of a message that comes in pieces, with the head lock held: waits for the next.
  /// False when its writer is gone, and no word about that will come.
  virtual bool wait_for_piece(ByteChannel& channel) = 0;

  Line() = default;
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

 protected:
  ~Line() = default;
};

}  // namespace kin::detail
