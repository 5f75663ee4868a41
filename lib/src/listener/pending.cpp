// SPDX-License-Identifier: BSL-1.0
//
// The handshake (wire/handshake) at a socket, for both sides; and a listener's clients, as long as they are
// in it.

#include "listener/pending.hpp"

#include "base/syscall.hpp"
#include "listener/meeting.hpp"

#include <kin/error.hpp>

#include <array>
#include <cerrno>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kin::detail {

bool send_at_once(int socket, Handshake& handshake) {
  const std::vector<std::byte> output = handshake.take_output();
  if (output.empty()) return true;
  const auto count = retry_interrupted(
      [&] { return ::send(socket, output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
  return count == static_cast<ssize_t>(output.size());
}

ssize_t feed_at_once(int socket, Handshake& handshake) {
  // Never more than the handshake needs: what comes behind it are messages.
  std::array<std::byte, 256> bytes{};
  const std::size_t wanted = std::min(handshake.missing(), bytes.size());
  const auto count =
      retry_interrupted([&] { return ::recv(socket, bytes.data(), wanted, MSG_DONTWAIT); });
  if (count > 0) handshake.feed(std::span(bytes).first(static_cast<std::size_t>(count)));
  return count;
}

bool is_of_same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         peer.uid == ::geteuid();
}

Outcome Pending::dropped(std::string why) const {
  return {.accepted = {}, .refused = nullptr, .dropped = std::move(why), .peer = peer_};
}

Outcome Pending::refused() const {
  const Handshake::Failure failure = handshake_.failure();
  const std::string who = "a client" + (peer_.empty() ? "" : " at " + peer_);
  if (failure == Handshake::Failure::not_kin) return dropped(text_of(failure));
  const std::string what = who + ": " + text_of(failure);
  const auto error = failure == Handshake::Failure::other_layout
                         ? std::make_exception_ptr(SerializationError(what))
                         : std::make_exception_ptr(AuthenticationError(what));
  return {.accepted = {}, .refused = error, .dropped = "", .peer = peer_};
}

std::optional<Outcome> Pending::step(std::size_t max_message) {
  while (true) {
    if (!send_at_once(socket_.get(), handshake_)) return dropped("it did not read the challenge");
    if (handshake_.state() == Handshake::State::failed) return refused();
    if (handshake_.state() == Handshake::State::done) return finish(max_message);
    const ssize_t count = feed_at_once(socket_.get(), handshake_);
    if (count == 0) return dropped("it went away in its handshake");
    if (count == -1) {
      if (errno == EAGAIN) break;
      return dropped(std::system_category().message(errno));
    }
  }
  if (deadline.has_passed()) return dropped("it did not prove itself in time");
  return std::nullopt;
}

Outcome Pending::finish(std::size_t max_message) {
  Outcome outcome{.accepted = {}, .refused = nullptr, .dropped = "", .peer = peer_};
  try {
    if (const auto& relative = handshake_.relative()) {
      outcome.accepted = leave_pipe_at(*relative);
      handshake_.settle(outcome.accepted.has_value());
      if (!send_at_once(socket_.get(), handshake_)) return dropped("it went away in its handshake");
    }
    if (!outcome.accepted) {
      leave_watch();
      outcome.accepted = End::over(std::move(socket_), max_message);
    }
  } catch (...) {
    outcome.refused = std::current_exception();
  }
  return outcome;
}

// The set tells of a socket for as long as anybody has it, in any process: of messages, and of its end. If
// the listener was closed meanwhile the number may be another set's, which does not know this socket.
void Pending::leave_watch() const noexcept {
  ::epoll_ctl(watch_, EPOLL_CTL_DEL, socket_.get(), nullptr);
}

void Pending::hang_up() noexcept {
  if (!socket_) return;
  leave_watch();
  ::shutdown(socket_.get(), SHUT_WR);
  // TCP throws away what is on its way to a peer if there is something from it that nobody has read.
  std::array<std::byte, 4096> unread{};
  static_cast<void>(::recv(socket_.get(), unread.data(), unread.size(), MSG_DONTWAIT));
  ::shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
}

}  // namespace kin::detail
