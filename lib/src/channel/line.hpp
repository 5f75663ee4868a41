// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

struct ByteChannel;

/// What a channel can't know itself: this process's descriptors for it. How to reach those that wait for it
/// in poll(), and the news that only the kernel has. All of it is for slow moments; a put and a get that
/// find what they want make no call.
class Line {
 public:
  /// Makes the descriptor that readers poll readable, in every process that has it. Throws
  /// std::logic_error when another thread has closed this process's own, SystemError when it has
  /// none and gets none.
  virtual void ring() = 0;
  /// And no longer. With both locks of the channel held, which is empty.
  virtual void silence() noexcept = 0;
  /// Makes this process's own descriptor readable, also for an event loop that is told of nothing but edges:
  /// so that it looks again.
  virtual void ring_here() noexcept = 0;
  /// While a put waits for room, again and again: throws when nobody will ever make any.
  virtual void look_for_readers() {}
  /// In the middle of a message that comes in pieces, with the head lock held: waits for the next.
  /// False when its writers are gone, and no word about that will come.
  virtual bool wait_for_piece(ByteChannel& channel) = 0;

  Line() = default;
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

 protected:
  ~Line() = default;
};

/// Of a channel that nobody polls, and whose messages come in one piece: kin's own.
class NoLine final : public Line {
 public:
  void ring() noexcept override {}
  void silence() noexcept override {}
  void ring_here() noexcept override {}
  bool wait_for_piece(ByteChannel& /*channel*/) override { return false; }
};

}  // namespace kin::detail
