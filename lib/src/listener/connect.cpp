// SPDX-License-Identifier: BSL-1.0
//
// The client's side: to the address, through the handshake, and off to a pipe if the listener is a relative.

#include <kin/listener.hpp>

#include "base/random.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "connection/socket_end.hpp"
#include "listener/address.hpp"
#include "listener/listening_socket.hpp"
#include "listener/meeting.hpp"
#include "listener/pending.hpp"
#include "waiting/futex.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace kin::detail {
namespace {

[[noreturn]] void complain_late(const std::string& address, const char* what) {
  throw TimeoutError(address + " " + what + " within the time limit");
}

// A slice at most. False when the time is up.
bool wait_for(int socket, short events, Deadline deadline) {
  SoftLimit::check();
  const std::int64_t left = deadline.nanoseconds() - Deadline::now();
  if (left <= 0) return false;
  pollfd about{socket, events, 0};
  const std::int64_t most = std::min(left, slice_nanoseconds);
  const int count = ::poll(&about, 1, static_cast<int>((most + 999'999) / 1'000'000));
  if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
  return true;
}

int error_of(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

bool is_writable(int socket) {
  pollfd about{socket, POLLOUT, 0};
  return ::poll(&about, 1, 0) == 1;
}

// 0, or the error number; ETIMEDOUT when the time is up.
int connect_tcp(int socket, const SocketAddress& to, Deadline deadline) {
  if (::connect(socket, to.get(), to.size) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  while (!is_writable(socket)) {
    if (!wait_for(socket, POLLOUT, deadline)) return ETIMEDOUT;
  }
  return error_of(socket);
}

// Where the backlog is full a Unix socket can't be polled; it waits in connect(), in slices.
int connect_unix(int socket, const SocketAddress& to, Deadline deadline) {
  timeval slice{};
  slice.tv_usec = slice_nanoseconds / 1000;
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof slice);
  while (::connect(socket, to.get(), to.size) != 0) {
    if (errno != EAGAIN && errno != EINTR) return errno;
    if (deadline.has_passed()) return ETIMEDOUT;
    SoftLimit::check();
  }
  return 0;
}

UniqueFd connect_socket(const NetworkAddress& address, Deadline deadline) {
  int error = 0;
  for (const SocketAddress& to : find_address(address, false)) {
    const int kind = SOCK_STREAM | SOCK_CLOEXEC | (address.is_unix() ? 0 : SOCK_NONBLOCK);
    UniqueFd socket =
        away_from_stdio(UniqueFd(checked("socket", ::socket(to.storage.ss_family, kind, 0))));
    error = address.is_unix() ? connect_unix(socket.get(), to, deadline)
                              : connect_tcp(socket.get(), to, deadline);
    if (error != 0) continue;
    if (!address.is_unix()) set_up_tcp(socket.get());
    return socket;
  }
  if (error == ETIMEDOUT && deadline.has_passed()) complain_late(address.text, "was not reached");
  throw SystemError("connect to " + address.text, error);
}

void shake_hands(int socket, Handshake& handshake, const std::string& address, Deadline deadline) {
  while (true) {
    const bool was_sent = send_at_once(socket, handshake);
    if (handshake.state() != Handshake::State::talking) return;
    const ssize_t count = was_sent ? feed_at_once(socket, handshake) : 0;
    if (count == 0) throw EndOfStream(address + " ended the connection in the handshake");
    if (count > 0) continue;
    if (tells_of_end(errno)) {
      throw EndOfStream(address + " ended the connection in the handshake");
    }
    if (errno != EAGAIN) throw SystemError("recv from " + address, errno);
    if (!wait_for(socket, POLLIN, deadline)) complain_late(address, "did not prove itself");
  }
}

[[noreturn]] void complain(const std::string& address, Handshake::Failure failure) {
  const std::string what = address + ": " + text_of(failure);
  if (failure == Handshake::Failure::other_layout) throw SerializationError(what);
  throw AuthenticationError(what);
}

}  // namespace

std::uint64_t mark_of(const std::type_info& type, std::size_t plain_size) noexcept {
  // FNV-1a. Compilers agree in the name, as they link with each other.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](std::uint64_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const char each : std::string_view(type.name())) add(static_cast<unsigned char>(each));
  for (; plain_size > 0; plain_size >>= 8) add(plain_size & 0xff);
  return hash;
}

End connect_to(const std::string& address, const ClientOptions& options, MessageTypes types) {
  const NetworkAddress to = parse_address(address);
  if (options.authkey.empty() && !to.is_unix()) {
    throw std::invalid_argument("kin: a client of " + address + " needs an authkey, as TCP does");
  }
  UniqueFd socket = connect_socket(to, Deadline::after(options.connect_limit));
  if (options.authkey.empty() && !is_of_same_user(socket.get())) {
    throw AuthenticationError(address + ": a process of another user, and there is no authkey");
  }
  const MeetingPlace place;
  Handshake::Terms terms{.role = Handshake::Role::client,
                         .key = options.authkey,
                         .layout = Layout::of_this_program(types.sent, types.received),
                         .family_secret = family_secret(),
                         .meeting = place.where()};
  fill_randomly(terms.nonce);
  Handshake handshake(std::move(terms));
  shake_hands(socket.get(), handshake, address, Deadline::after(options.handshake_limit));
  if (handshake.state() == Handshake::State::failed) complain(address, handshake.failure());
  if (handshake.leaves_socket()) return place.take();
  return End::over(std::move(socket), options.max_message);
}

}  // namespace kin::detail
