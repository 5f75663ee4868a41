// SPDX-License-Identifier: BSL-1.0
//
// Listeners: the list of them, their descriptors, and who sleeps on these.
//
// All threads that wait for a client drive the handshakes of all that are there; so nobody waits for a client
// that is silent. What they wait with is one epoll set: the socket that listens, the clients in their
// handshakes, and a bell that rings while somebody is accepted whom no thread has taken.
//
// One lock for all listeners of the process; a client that is being served is marked, and its handshake goes
// on without the lock. All of it is private to the process: a child has the socket, and none of the clients.

#include "listener/acceptor_state.hpp"

#include "base/immortal.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "os/fork.hpp"
#include "waiting/futex.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace kin::detail {
namespace {

// In every child, before anything else runs there.
void forget_clients_of_parent() noexcept {
  // Nobody else is here. Not with the lock: ends that were accepted go, which have a lock of their own.
  Acceptor::State* one = all_listeners().with([](Listeners& all) { return all.first; });
  for (; one != nullptr; one = one->next) one->forget_clients_of_parent();
}

[[maybe_unused]] const bool forks_are_handled = [] {
  all_listeners();
  call_in_children(forget_clients_of_parent);
  return set_fork_handlers();
}();

}  // namespace

Guarded<Listeners>& all_listeners() {
  static Immortal<Guarded<Listeners>> all;
  return *all;
}

Acceptor::State::State(ListenerOptions given, const NetworkAddress& where, MessageTypes types)
    : options(std::move(given)),
      layout(Layout::of_this_program(types.sent, types.received)),
      is_unix(where.is_unix()),
      maker(::getpid()) {
  const auto places = find_address(where, true);
  // From before the socket is made: so a fork finds it in the list, or there is none.
  all_listeners().with([&](Listeners& all) {
    listening = listen_at(where, places, options.backlog);
    next = std::exchange(all.first, this);
    if (next != nullptr) next->before = this;
  });
  address = listening.address;
}

Acceptor::State::~State() {
  close();
  all_listeners().with([this](Listeners& all) {
    (before != nullptr ? before->next : all.first) = next;
    if (next != nullptr) next->before = before;
  });
}

// ---- descriptors

void Acceptor::State::ensure_watch() {
  if (watch) return;
  UniqueFd new_bell =
      away_from_stdio(UniqueFd(checked("eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))));
  UniqueFd new_watch =
      away_from_stdio(UniqueFd(checked("epoll_create1", ::epoll_create1(EPOLL_CLOEXEC))));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = bell_id;
  checked("epoll_ctl", ::epoll_ctl(new_watch.get(), EPOLL_CTL_ADD, new_bell.get(), &event));
  event.data.u64 = listening_id;
  checked("epoll_ctl", ::epoll_ctl(new_watch.get(), EPOLL_CTL_ADD, listening.socket.get(), &event));
  bell = std::move(new_bell);
  watch = std::move(new_watch);
}

void Acceptor::State::close_descriptors() noexcept {
  listening.socket.reset();
  watch.reset();
  bell.reset();
}

void Acceptor::State::close() noexcept {
  std::vector<std::shared_ptr<Pending>> clients;
  std::deque<Outcome> outcomes;
  all_listeners().with([&](Listeners&) {
    if (is_closed.exchange(true)) return;
    if (maker == ::getpid()) listening.unlink();
    for (const auto& client : pending) {
      if (!client->is_busy) clients.push_back(client);
    }
    pending.clear();
    outcomes = std::exchange(finished, {});
    // Those who sleep are to see it.
    if (bell) static_cast<void>(::eventfd_write(bell.get(), 1));
    if (users == 0) close_descriptors();
  });
  // With no lock held: the ends of those whom nobody took have one of their own.
  for (const auto& client : clients) client->hang_up();
}

void Acceptor::State::close_inherited() noexcept {
  all_listeners().with([&](Listeners&) {
    is_closed.store(true);
    close_descriptors();
  });
}

void Acceptor::State::forget_clients_of_parent() noexcept {
  users = 0;
  for (const auto& client : std::exchange(pending, {})) client->forget();
  finished.clear();
  // The set is one with the parent's.
  watch.reset();
  bell.reset();
  if (is_closed.load()) close_descriptors();
}

// ---- sleeping

void Acceptor::State::wait(Deadline deadline) {
  std::int64_t until = std::min(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds);
  const int descriptor = all_listeners().with([&](Listeners&) {
    for (const auto& client : pending) until = std::min(until, client->deadline.nanoseconds());
    return watch.get();
  });
  const std::int64_t left = std::max<std::int64_t>(until - Deadline::now(), 0);
  pollfd about{descriptor, POLLIN, 0};
  const int count = ::poll(&about, 1, static_cast<int>((left + 999'999) / 1'000'000));
  if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
}

UseOfListener::UseOfListener(std::shared_ptr<Acceptor::State> state) : state_(std::move(state)) {
  all_listeners().with([&](Listeners&) {
    state_->require_open();
    state_->ensure_watch();
    ++state_->users;
  });
}

UseOfListener::~UseOfListener() {
  all_listeners().with([&](Listeners&) {
    if (--state_->users == 0 && state_->is_closed.load()) state_->close_descriptors();
  });
}

}  // namespace kin::detail
