// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/byte_channel.hpp"

namespace kin::detail {

/// A process's socket of a pipe. The peer is everyone who has the other end; when the last of these has
/// closed it, or has died, the kernel says so.
class PipeLine : public Line {
 public:
  [[nodiscard]] virtual bool peer_is_gone() = 0;
  /// Sleeps until somebody rang, or the peer is gone, which it tells by true, and for so long at most.
  virtual bool sleep(Deadline deadline) = 0;
  /// Whether an end was closed somewhere since this was asked, or many messages were sent.
  virtual bool is_time_to_look(const ByteChannel& channel) noexcept = 0;

  void look_for_readers() final;
  bool wait_for_piece(ByteChannel& channel) final;

 protected:
  ~PipeLine() = default;
};

// One direction of a pipe is a channel that is bounded in bytes. What is too large for its ring goes
// through it in pieces, while the sender holds the tail lock and the receiver the head lock, and both
// copy at once. From its first piece on a message belongs to its reader.

/// How large the ring of a pipe may become.
inline constexpr std::uint32_t pipe_units = (std::uint32_t{1} << 20) / Cursor::unit;

/// Sends one message; waits while the pipe is full. Throws BrokenPipe when nobody is left who could
/// receive it, std::bad_alloc, SystemError for descriptors.
void send(ByteChannel& channel, std::span<const std::byte> bytes, const OutgoingCargo& cargo,
          PipeLine& line);

/// As get(); the time limit binds until the first piece is there. Throws EndOfStream when the peer is
/// gone and all was received that was sent.
bool receive(ByteChannel& channel, Sink sink, IncomingCargo* cargo, PipeLine& line,
             Deadline deadline);

/// Waits until receive() would not; false when the time is up.
bool wait_to_receive(ByteChannel& channel, PipeLine& line, Deadline deadline);

}  // namespace kin::detail
