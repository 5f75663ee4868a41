// SPDX-License-Identifier: BSL-1.0
//
// A listener's clients, from the moment they come until somebody accepts them, or they are dropped. In any
// thread that waits for a client; see acceptor_state.cpp.

#include "listener/acceptor_state.hpp"

#include "base/log_text.hpp"
#include "base/random.hpp"
#include "base/stdio.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <span>
#include <utility>

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace kin::detail {
namespace {

// In their handshakes at one listener.
constexpr std::size_t most_pending = 64;

}  // namespace

void Acceptor::State::add_client(UniqueFd socket, std::string peer) {
  if (is_unix && options.authkey.empty() && !is_of_same_user(socket.get())) {
    Outcome outcome{.accepted = {}, .refused = nullptr, .dropped = "", .peer = peer};
    outcome.refused = std::make_exception_ptr(AuthenticationError(
        "a client: a process of another user, and this listener has no authkey"));
    finished.push_back(std::move(outcome));
    return;
  }
  if (!is_unix) set_up_tcp(socket.get());
  Handshake::Terms terms{.role = Handshake::Role::listener,
                         .key = options.authkey,
                         .layout = layout,
                         .family_secret = family_secret()};
  fill_randomly(terms.nonce);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = ++last_id;
  const int descriptor = socket.get();
  pending.push_back(std::make_shared<Pending>(last_id, std::move(socket), watch.get(),
                                              std::move(peer), Handshake(std::move(terms)),
                                              Deadline::after(options.handshake_limit)));
  if (::epoll_ctl(watch.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
    const int why = errno;
    pending.pop_back();
    throw SystemError("epoll_ctl", why);
  }
}

// Makes room. False when nobody is there who could be dropped.
bool Acceptor::State::drop_oldest(std::vector<Dropped>& dropped, const char* why) {
  const auto oldest =
      std::ranges::find_if(pending, [](const auto& client) { return !client->is_busy; });
  if (oldest == pending.end()) return false;
  dropped.push_back({*oldest, why});
  (*oldest)->hang_up();
  pending.erase(oldest);
  return true;
}

void Acceptor::State::take_clients(std::vector<Dropped>& dropped) {
  // They wait in the kernel's backlog meanwhile.
  if (finished.size() >= most_pending) return;
  // As many as may wait, so that a crowd does not keep this thread here.
  for (std::size_t i = 0; i < most_pending; ++i) {
    SocketAddress from;
    from.size = sizeof from.storage;
    UniqueFd socket(
        ::accept4(listening.socket.get(), from.get(), &from.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EAGAIN) return;
      if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO) continue;
      const int why = errno;
      const bool is_short = why == EMFILE || why == ENFILE;
      if (is_short && drop_oldest(dropped, "there was no descriptor left")) continue;
      throw SystemError("accept at " + address, why);
    }
    if (pending.size() >= most_pending) drop_oldest(dropped, "too many others came");
    add_client(away_from_stdio(std::move(socket)), is_unix ? "" : text_of(from));
  }
}

// Those of whom there is news, or whose time is up; they are this thread's then.
std::vector<std::shared_ptr<Pending>> Acceptor::State::clients_to_serve() {
  std::array<epoll_event, most_pending + 2> events{};
  const int count = ::epoll_wait(watch.get(), events.data(), static_cast<int>(events.size()), 0);
  const auto news = std::span(events).first(static_cast<std::size_t>(std::max(count, 0)));
  std::vector<std::shared_ptr<Pending>> clients;
  for (const auto& client : pending) {
    const auto is_its = [&](const epoll_event& event) { return event.data.u64 == client->id; };
    const bool has_news = client->is_new || std::ranges::any_of(news, is_its);
    if (client->is_busy || (!has_news && !client->deadline.has_passed())) continue;
    clients.push_back(client);
  }
  for (const auto& client : clients) {
    client->is_busy = true;
    client->is_new = false;
  }
  return clients;
}

// What a client's step came to; it is this thread's no longer.
void Acceptor::State::settle(const std::shared_ptr<Pending>& client,
                             std::optional<Outcome>& outcome, std::vector<Dropped>& dropped) {
  client->is_busy = false;
  if (!outcome) return;
  std::erase(pending, client);
  if (!outcome->dropped.empty()) {
    dropped.push_back({client, outcome->dropped});
  } else if (!is_closed.load()) {
    finished.push_back(std::move(*outcome));
  }
}

void Acceptor::State::progress() {
  std::vector<Dropped> dropped;
  std::vector<std::shared_ptr<Pending>> clients;
  std::exception_ptr problem;
  all_listeners().with([&](Listeners&) {
    require_open();
    ensure_watch();
    try {
      take_clients(dropped);
    } catch (...) {
      problem = std::current_exception();
    }
    clients = clients_to_serve();
  });
  for (const auto& client : clients) {
    std::optional<Outcome> outcome;
    try {
      outcome = client->step(options.max_message);
    } catch (...) {
      outcome = Outcome{.accepted = {},
                        .refused = std::current_exception(),
                        .dropped = "",
                        .peer = client->peer()};
    }
    if (outcome) client->hang_up();
    all_listeners().with([&](Listeners&) { settle(client, outcome, dropped); });
  }
  all_listeners().with([&](Listeners&) {
    if (bell && !finished.empty()) static_cast<void>(::eventfd_write(bell.get(), 1));
  });
  for (const Dropped& one : dropped) tell_dropped(one.client->peer(), one.why);
  if (problem) std::rethrow_exception(problem);
}

std::optional<Outcome> Acceptor::State::take_finished() {
  return all_listeners().with([&](Listeners&) {
    require_open();
    std::optional<Outcome> outcome;
    if (finished.empty()) return outcome;
    outcome = std::move(finished.front());
    finished.pop_front();
    eventfd_t count = 0;
    if (bell && finished.empty()) static_cast<void>(::eventfd_read(bell.get(), &count));
    if (outcome->accepted) last_accepted = outcome->peer;
    return outcome;
  });
}

void Acceptor::State::tell_dropped(const std::string& peer, const std::string& why) const noexcept {
  log_text(LogLevel::warning, [&] {
    const std::string who = peer.empty() ? "a client" : "the client " + peer;
    return "listener at " + address + ": dropped " + who + ": " + why;
  });
}

}  // namespace kin::detail
