// SPDX-License-Identifier: BSL-1.0
//
// Sending and receiving over a socket, which threads and forked processes share. The kernel has the
// messages; in shared memory are a lock for each direction, and a note that a message is half way through
// the socket: who is killed then has torn the stream, and nobody can go on with it.
//
// A receiver first peeks. A message that has arrived whole is then taken by one system call: if killed
// before, it is still there, and behind it is gone with its taker. Only one that arrives in pieces is
// received in pieces, and tears the stream with its receiver.

#include "connection/socket_end.hpp"

#include "base/syscall.hpp"
#include "memory/object.hpp"
#include "os/fork.hpp"
#include "waiting/futex.hpp"
#include "waiting/parking.hpp"
#include "waiting/robust_lock.hpp"
#include "waiting/soft_limit.hpp"
#include "wire/frame.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

/// One direction of a stream.
/// Writers: whoever holds the lock.
struct Direction {
  RobustLock lock;
  std::atomic<std::uint32_t> is_inside;  // a message is half way through the socket
  std::atomic<std::uint32_t> is_broken;  // for good
};

/// What the processes that have an end of a connection share.
struct StreamObject : Object {
  Direction sending;
  Direction receiving;
  std::uint64_t max_message;
};
static_assert(sizeof(StreamObject) <= Heap::lock_size);

StreamObject& stream_of(const End::State& end) {
  return static_cast<StreamObject&>(end.stream.object_even_closed());
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  // One that a thread still holds is leaked: its word is on the list of a living thread.
  set_destroyer(ObjectKind::stream, [](Object& object) {
    auto& stream = static_cast<StreamObject&>(object);
    return !stream.sending.lock.is_held() && !stream.receiving.lock.is_held();
  });
  return true;
}();

constexpr const char* nobody_there = "nobody has the other end of the connection any more";
constexpr const char* torn = "a process was killed while it had a message half way through here";
constexpr const char* all_received =
    "all was received, and nobody has the other end of the connection any more";

constexpr const char* cut_off = "the connection ended in the middle of a message";

// ---- deaths

// The peer has half of a message. It sees the end of the stream, and drops that.
void tear_sending(const End::State& end, Direction& direction) {
  direction.is_broken.store(1);
  ::shutdown(end.socket.get(), SHUT_WR);
  // If killed before this: the next holder of the lock does it again.
  direction.is_inside.store(0);
}

// Where the next message begins, nobody knows. And nobody here will receive: the peer is to see that.
void tear_receiving(const End::State& end, Direction& direction) {
  direction.is_broken.store(1);
  ::shutdown(end.socket.get(), SHUT_RDWR);
  // If killed before this: the next holder of the lock does it again.
  direction.is_inside.store(0);
}

void recover_sending(const End::State& end, Direction& direction) {
  if (direction.is_inside.load() != 0) tear_sending(end, direction);
}

void recover_receiving(const End::State& end, Direction& direction) {
  if (direction.is_inside.load() != 0) tear_receiving(end, direction);
}

bool is_left_by_the_dead(const RobustLock& lock) { return !lock.is_held() && !lock.is_at_rest(); }

// Who waits looks for the dead of both directions: the peer waits for the end of a message that nobody
// will send, and its end of the stream does not come as long as somebody here lives.
void look_for_the_dead(const End::State& end, StreamObject& stream) {
  if (is_left_by_the_dead(stream.sending.lock)) {
    const RobustGuard guard(std::try_to_lock, stream.sending.lock,
                            [&] { recover_sending(end, stream.sending); });
  }
  if (is_left_by_the_dead(stream.receiving.lock)) {
    const RobustGuard guard(std::try_to_lock, stream.receiving.lock,
                            [&] { recover_receiving(end, stream.receiving); });
  }
}

// The same for who has waited a slice: locks too that the kernel has not marked as their holder's.
void look_closely_for_the_dead(const End::State& end, StreamObject& stream) {
  stream.sending.lock.recover_unmarked();
  stream.receiving.lock.recover_unmarked();
  look_for_the_dead(end, stream);
}

// ---- waiting

int milliseconds_of_slice(Deadline deadline) {
  const std::int64_t left = std::min(deadline.nanoseconds() - Deadline::now(), slice_nanoseconds);
  return static_cast<int>((std::max<std::int64_t>(left, 0) + 999'999) / 1'000'000);
}

// Until the socket is ready for that, or broken, a slice at most.
bool wait_for(const End::State& end, short events, Deadline deadline) {
  pollfd about{end.socket.get(), events, 0};
  const int count = ::poll(&about, 1, milliseconds_of_slice(deadline));
  if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
  if (count <= 0) return false;
  if ((about.revents & POLLNVAL) != 0) throw SystemError("poll", EBADF);
  return true;
}

bool is_readable(const End::State& end) {
  pollfd about{end.socket.get(), POLLIN, 0};
  return ::poll(&about, 1, 0) > 0;
}

bool is_later(int error) { return error == EAGAIN || error == EINTR; }

// ---- sending

// Nothing was sent yet: so it may give up.
void wait_to_begin(End::State& end, Direction& direction) {
  // If killed here: nothing has begun.
  direction.is_inside.store(0);
  SoftLimit::check();
  wait_for(end, POLLOUT, Deadline::never());
  if (end.is_closed.load()) complain_closed(end);
  direction.is_inside.store(1);
}

void send_frame(End::State& end, Direction& direction, std::span<const std::byte> bytes) {
  FrameHead head = frame_head(bytes.size());
  // The kernel only reads them. NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  std::array<iovec, 2> parts{
      {{head.data(), head.size()}, {const_cast<std::byte*>(bytes.data()), bytes.size()}}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const std::size_t size = head.size() + bytes.size();
  std::size_t sent = 0;
  while (sent < size) {
    const ssize_t count = ::sendmsg(end.socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count == -1) {
      if (tells_of_end(errno)) throw BrokenPipe(nobody_there);
      if (!is_later(errno)) throw SystemError("sendmsg", errno);
      if (sent == 0) {
        wait_to_begin(end, direction);
      } else {
        wait_for(end, POLLOUT, Deadline::never());
      }
      continue;
    }
    sent += static_cast<std::size_t>(count);
    for (auto left = static_cast<std::size_t>(count); left > 0;) {
      iovec& part = *message.msg_iov;
      const std::size_t done = std::min(left, part.iov_len);
      part.iov_base = static_cast<std::byte*>(part.iov_base) + done;
      part.iov_len -= done;
      left -= done;
      if (part.iov_len > 0) break;
      ++message.msg_iov;
      --message.msg_iovlen;
    }
  }
}

}  // namespace

bool tells_of_end(int error) noexcept {
  switch (error) {
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
    case ECONNABORTED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH: return true;
    default: return false;
  }
}

Handle make_socket_stream(std::size_t max_message) {
  return Handle(make_object(ObjectKind::stream, sizeof(StreamObject), [&](Object& object) {
    auto& stream = static_cast<StreamObject&>(object);
    stream.sending.lock.initialize();
    stream.receiving.lock.initialize();
    stream.max_message = max_message;
  }));
}

void send_over(End::State& end, std::span<const std::byte> bytes, const OutgoingCargo& cargo) {
  if (!cargo.empty()) {
    throw SerializationError(
        "queues, locks, ends of pipes and descriptors can't travel over a socket: they mean "
        "nothing "
        "to a process of another family");
  }
  const Use use(end);
  Direction& direction = stream_of(end).sending;
  const RobustGuard guard(
      direction.lock, Deadline::never(), [] { SoftLimit::check(); },
      [&] { recover_sending(end, direction); });
  if (direction.is_broken.load() != 0) throw BrokenPipe(torn);
  // If killed from here on: the stream ends with what was sent before, or with this whole message.
  direction.is_inside.store(1);
  try {
    send_frame(end, direction, bytes);
  } catch (...) {
    if (direction.is_inside.load() != 0) tear_sending(end, direction);
    throw;
  }
  direction.is_inside.store(0);
}

// ---- receiving

namespace {

enum class Found { message, nothing, end };

// In pieces: what is missing is waited for, as what came belongs to this thread.
std::vector<std::byte> receive_pieces(End::State& end, FrameReader& reader) {
  std::vector<std::byte> piece;
  while (!reader.is_whole()) {
    constexpr std::size_t largest = std::size_t{256} << 10;
    piece.resize(std::clamp(reader.missing(), piece.size(), largest));
    const std::size_t wanted = std::min(reader.missing(), piece.size());
    const ssize_t count = ::recv(end.socket.get(), piece.data(), wanted, MSG_DONTWAIT);
    if (count == 0) throw EndOfStream(cut_off);
    if (count == -1) {
      if (tells_of_end(errno)) throw EndOfStream(cut_off);
      if (!is_later(errno)) throw SystemError("recv", errno);
      if (wait_for(end, POLLIN, Deadline::never())) {
        look_for_the_dead(end, stream_of(end));
      } else {
        look_closely_for_the_dead(end, stream_of(end));
      }
      if (end.is_closed.load()) complain_closed(end);
      continue;
    }
    reader.feed(std::span(piece).first(static_cast<std::size_t>(count)));
    if (reader.is_refused()) {
      throw SerializationError("a message of " + std::to_string(reader.size()) +
                               " bytes came, more than max_message; the connection is at its end");
    }
  }
  return reader.take();
}

// With the lock held.
Found try_receive(End::State& end, StreamObject& stream, TakeArrived take, std::size_t room) {
  Direction& direction = stream.receiving;
  if (direction.is_broken.load() != 0) return Found::end;
  std::array<std::byte, 4096> front;  // NOLINT: filled by the kernel
  const ssize_t count =
      ::recv(end.socket.get(), front.data(), front.size(), MSG_PEEK | MSG_DONTWAIT);
  if (count == 0 || (count == -1 && tells_of_end(errno))) return Found::end;
  if (count == -1) {
    if (is_later(errno)) return Found::nothing;
    throw SystemError("recv", errno);
  }
  FrameReader reader(stream.max_message);
  const auto peeked = std::span(front).first(static_cast<std::size_t>(count));
  if (const auto whole = reader.find_whole(peeked); !whole.empty()) {
    const auto message = whole.subspan(frame_head_size);
    if (message.size() > room) throw BufferTooShort(message.size());
    // If killed before this: it is still there. Behind it: gone with this process.
    checked("recv", ::recv(end.socket.get(), front.data(), whole.size(), MSG_DONTWAIT));
    take({message, nullptr});
    return Found::message;
  }
  reader.feed(peeked);
  if (!reader.is_refused() && peeked.size() >= frame_head_size && reader.size() > room) {
    throw BufferTooShort(static_cast<std::size_t>(reader.size()));
  }
  FrameReader anew(stream.max_message);
  // If killed from here on: the stream is torn, and at its end for all.
  direction.is_inside.store(1);
  try {
    std::vector<std::byte> message = receive_pieces(end, anew);
    direction.is_inside.store(0);
    take({message, &message});
  } catch (...) {
    if (direction.is_inside.load() != 0) tear_receiving(end, direction);
    throw;
  }
  return Found::message;
}

}  // namespace

bool receive_over(End::State& end, TakeArrived take, Deadline deadline, std::size_t room) {
  StreamObject& stream = stream_of(end);
  // A look, too, waits for a reader that is just taking a message: there may be another behind it.
  const Deadline for_lock = deadline.is_passed_from_start()
                                ? Deadline::at(Deadline::now() + slice_nanoseconds)
                                : deadline;
  bool waited = false;
  while (true) {
    const Use use(end);
    {
      const RobustGuard guard(
          stream.receiving.lock, for_lock, [] { SoftLimit::check(); },
          [&] { recover_receiving(end, stream.receiving); });
      if (!guard.holds()) return false;
      const Found found = try_receive(end, stream, take, room);
      if (found == Found::message) return true;
      if (found == Found::end) throw EndOfStream(all_received);
    }
    if (deadline.has_passed()) return false;
    // An answer comes sooner than this thread would be woken.
    if (!waited && spin([&] { return is_readable(end); }, deadline, nullptr)) continue;
    waited = true;
    SoftLimit::check();
    if (!wait_for(end, POLLIN, deadline)) look_closely_for_the_dead(end, stream);
  }
}

bool poll_over(End::State& end, Deadline deadline) {
  while (true) {
    const Use use(end);
    if (deadline.is_passed_from_start()) return wait_for(end, POLLIN, deadline);
    SoftLimit::check();
    if (wait_for(end, POLLIN, deadline)) return true;
    if (deadline.has_passed()) return false;
    look_closely_for_the_dead(end, stream_of(end));
  }
}

}  // namespace kin::detail
