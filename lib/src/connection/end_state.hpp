// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/guarded.hpp"
#include "channel/byte_channel.hpp"

#include <kin/detail/end.hpp>
#include <kin/unique_fd.hpp>

#include <atomic>
#include <cstdint>

#include <sys/types.h>

namespace kin::detail {

/// All ends of this process. The lock is for their descriptors as well, from the moment they exist, and the
/// counts of their uses: where somebody is about to sleep, or to be woken.
struct Ends {
  End::State* first = nullptr;
};

Guarded<Ends>& all_ends();

/// What all copies of an end in a process share.
/// After fork: the child's copy has the child's copies of the descriptors.
struct End::State {
  Handle in;      // of a pipe; none: it can't receive
  Handle out;     // of a pipe; none: it can't send
  Handle stream;  // of a connection over a socket: see socket_end.hpp. Then it has neither of these
  UniqueFd socket;
  // Made by fileno(). `watch` is an epoll set of the socket and of `own_bell`, by which this process
  // tells itself of messages that nobody rang for.
  UniqueFd watch;
  UniqueFd own_bell;
  std::atomic<bool> is_closed = false;
  // By close_inherited().
  bool was_inherited = false;
  // Who sleeps on the descriptors. The last of them closes them, if they are to be closed. Guarded by
  // all_ends(). Of a thread of the parent's, after a fork.
  int users = 0;
  pid_t users_of = 0;
  // In the list of all ends. Guarded by its lock.
  State* next = nullptr;
  State* before = nullptr;
  // For is_time_to_look(). Several threads may change them; what is lost does not matter.
  std::atomic<std::uint32_t> sends = 0;
  std::atomic<std::uint32_t> closings_seen = 0;
  // Nobody has the other end. Then nobody ever will: one in a message counts.
  std::atomic<bool> peer_is_gone = false;

  // The socket comes later, with the lock held.
  State(Handle in_channel, Handle out_channel, Handle socket_stream = {});
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void close() noexcept;
  // In a child: whatever threads of its parent's were doing with it.
  void close_inherited() noexcept;
  void close_descriptors() noexcept;
  // That they look whether anybody is left.
  void tell_peers() const noexcept;
};

[[noreturn]] void complain_closed(const End::State& end);

/// The descriptors of an end, kept open for a scope though another thread may close it.
class Use {
 public:
  explicit Use(End::State& end);
  ~Use();
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  End::State& end_;
};

/// The channel of a direction that the end has.
inline ByteChannel& channel_of(const Handle& handle) {
  return static_cast<ByteChannel&>(handle.object_even_closed());
}

}  // namespace kin::detail
