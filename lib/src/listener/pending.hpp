// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "wire/handshake.hpp"

#include <kin/detail/deadline.hpp>
#include <kin/detail/end.hpp>
#include <kin/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include <sys/types.h>

namespace kin::detail {

/// What became of a client.
struct Outcome {
  std::optional<End> accepted;
  std::exception_ptr refused;  // to be thrown from accept()
  std::string dropped;         // why, for the log
  std::string peer;
};

/// A client that a listener has not accepted yet: it is just proving itself. Nothing here waits.
class Pending {
 public:
  /// `watch` is the listener's epoll set, which the socket is in until it leaves, or is hung up on.
  Pending(std::uint64_t number, UniqueFd socket, int watch, std::string peer, Handshake handshake,
          Deadline until)
      : id(number),
        deadline(until),
        socket_(std::move(socket)),
        watch_(watch),
        peer_(std::move(peer)),
        handshake_(std::move(handshake)) {}

  /// Goes on as far as it can; none as long as the client has to say more.
  std::optional<Outcome> step(std::size_t max_message);
  /// Ends it, also for processes that have inherited the socket. What was sent to it arrives.
  void hang_up() noexcept;
  /// In a child: the client is the parent's.
  void forget() noexcept { socket_.reset(); }
  [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }
  [[nodiscard]] const std::string& peer() const noexcept { return peer_; }

  const std::uint64_t id;
  const Deadline deadline;
  // Guarded by the listener's lock.
  bool is_new = true;
  bool is_busy = false;  // a thread is in step()

 private:
  [[nodiscard]] bool flush();
  void leave_watch() const noexcept;
  [[nodiscard]] Outcome finish(std::size_t max_message);
  [[nodiscard]] Outcome dropped(std::string why) const;
  [[nodiscard]] Outcome refused() const;

  UniqueFd socket_;
  int watch_;
  std::string peer_;
  Handshake handshake_;
};

/// Sends all of a handshake's output, which has room in any socket that is new. False if it has not, or the
/// peer is gone.
bool send_at_once(int socket, Handshake& handshake);
/// What recv() says of the bytes that the handshake misses: 0 at the end of the stream, -1 and errno.
ssize_t feed_at_once(int socket, Handshake& handshake);

/// Whether the other side of a Unix socket is a process of this process's user.
bool is_of_same_user(int socket);

}  // namespace kin::detail
