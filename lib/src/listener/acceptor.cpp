// SPDX-License-Identifier: BSL-1.0
//
// Listeners. All threads that wait for a client drive the handshakes of all that are there; so nobody waits
// for a client that is silent. What they wait with is one epoll set: the socket that listens, the clients in
// their handshakes, and a bell that rings while somebody is accepted whom no thread has taken.
//
// One lock for all listeners of the process; a client that is being served is marked, and its handshake goes
// on without the lock. All of it is private to the process: a child has the socket, and none of the clients.

#include <kin/listener.hpp>

#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/random.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "listener/address.hpp"
#include "listener/listening_socket.hpp"
#include "listener/meeting.hpp"
#include "listener/pending.hpp"
#include "os/fork.hpp"
#include "waiting/futex.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <exception>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kin::detail {
namespace {

// In their handshakes at one listener.
constexpr std::size_t most_pending = 64;
constexpr std::uint64_t listening_id = 0;
constexpr std::uint64_t bell_id = 1;

/// All listeners of this process. The lock is for all that is in them.
struct All {
  Acceptor::State* first = nullptr;
};

Guarded<All>& all_listeners() {
  static Immortal<Guarded<All>> all;
  return *all;
}

}  // namespace

struct Acceptor::State {
  /// Who was dropped, to be told with no lock held.
  struct Dropped {
    std::shared_ptr<Pending> client;
    std::string why;
  };

  const ListenerOptions options;
  const Layout layout;
  const bool is_unix;
  const pid_t maker;
  std::string address;
  std::atomic<bool> is_closed = false;

  // Guarded by all_listeners().
  ListeningSocket listening;
  UniqueFd watch;  // the epoll set, and the bell; of this process only, made when they are needed
  UniqueFd bell;
  std::uint64_t last_id = bell_id;
  std::vector<std::shared_ptr<Pending>> pending;  // the oldest first
  std::deque<Outcome> finished;
  std::optional<std::string> last_accepted;
  int users =
      0;  // threads that sleep on the descriptors: the last closes them, if they are to be closed
  State* next = nullptr;
  State* before = nullptr;

  State(const ListenerOptions& given, const NetworkAddress& where, MessageTypes types)
      : options(given),
        layout(Layout::of_this_program(types.sent, types.received)),
        is_unix(where.is_unix()),
        maker(::getpid()) {
    const auto places = find_address(where, true);
    // From before the socket is made: so a fork finds it in the list, or there is none.
    all_listeners().with([&](All& all) {
      listening = listen_at(where, places, options.backlog);
      next = std::exchange(all.first, this);
      if (next != nullptr) next->before = this;
    });
    address = listening.address;
  }
  ~State() {
    close();
    all_listeners().with([this](All& all) {
      (before != nullptr ? before->next : all.first) = next;
      if (next != nullptr) next->before = before;
    });
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void close() noexcept;
  void close_inherited() noexcept;
  void progress();
  std::optional<Outcome> take_finished();
  void wait(Deadline deadline);

  // With the lock held.
  void require_open() const {
    if (is_closed.load()) throw std::logic_error("kin: this listener was closed in this process");
  }
  void ensure_watch();
  void close_descriptors() noexcept;
  bool drop_oldest(std::vector<Dropped>& dropped, const char* why);
  void take_clients(std::vector<Dropped>& dropped);
  void add_client(UniqueFd socket, std::string peer);
  void settle(const std::shared_ptr<Pending>& client, std::optional<Outcome>& outcome,
              std::vector<Dropped>& dropped);
  std::vector<std::shared_ptr<Pending>> clients_to_serve();
  void forget_clients_of_parent() noexcept;

  void tell_dropped(const std::string& peer, const std::string& why) const noexcept {
    const std::string who = peer.empty() ? "a client" : "the client " + peer;
    log(LogLevel::warning, "listener at " + address + ": dropped " + who + ": " + why);
  }
};

namespace {

// In every child, before anything else runs there.
void forget_clients_of_parent() noexcept {
  // Nobody else is here. Not with the lock: ends that were accepted go, which have a lock of their own.
  Acceptor::State* one = all_listeners().with([](All& all) { return all.first; });
  for (; one != nullptr; one = one->next) one->forget_clients_of_parent();
}

[[maybe_unused]] const bool forks_are_handled = [] {
  all_listeners();
  call_in_children(forget_clients_of_parent);
  return set_fork_handlers();
}();

/// A thread that sleeps on a listener's descriptors, which stay open meanwhile.
class UseOfListener {
 public:
  explicit UseOfListener(std::shared_ptr<Acceptor::State> state) : state_(std::move(state)) {
    all_listeners().with([&](All&) {
      state_->require_open();
      state_->ensure_watch();
      ++state_->users;
    });
  }
  ~UseOfListener() {
    all_listeners().with([&](All&) {
      if (--state_->users == 0 && state_->is_closed.load()) state_->close_descriptors();
    });
  }
  UseOfListener(const UseOfListener&) = delete;
  UseOfListener& operator=(const UseOfListener&) = delete;

 private:
  std::shared_ptr<Acceptor::State> state_;
};

}  // namespace

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
  all_listeners().with([&](All&) {
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
  all_listeners().with([&](All&) {
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

// ---- clients

void Acceptor::State::add_client(UniqueFd socket, std::string peer) {
  if (is_unix && options.authkey.empty() && !is_of_same_user(socket.get())) {
    Outcome outcome{.accepted = {}, .refused = nullptr, .dropped = "", .peer = peer};
    outcome.refused = std::make_exception_ptr(AuthenticationError(
        "a client: a process of another user, and this listener has no authkey"));
    finished.push_back(std::move(outcome));
    return;
  }
  const int on = 1;
  if (!is_unix) ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Handshake::Terms terms{.role = Handshake::Role::listener,
                         .key = options.authkey,
                         .layout = layout,
                         .family_secret = family_secret()};
  fill_randomly(terms.nonce);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = ++last_id;
  const int descriptor = socket.get();
  pending.push_back(std::make_shared<Pending>(last_id, std::move(socket), std::move(peer),
                                              Handshake(std::move(terms)),
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

// Lets all clients go on, and drops those whose time is up.
void Acceptor::State::progress() {
  std::vector<Dropped> dropped;
  std::vector<std::shared_ptr<Pending>> clients;
  std::exception_ptr problem;
  all_listeners().with([&](All&) {
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
    all_listeners().with([&](All&) { settle(client, outcome, dropped); });
  }
  all_listeners().with([&](All&) {
    if (bell && !finished.empty()) static_cast<void>(::eventfd_write(bell.get(), 1));
  });
  for (const Dropped& one : dropped) tell_dropped(one.client->peer(), one.why);
  if (problem) std::rethrow_exception(problem);
}

std::optional<Outcome> Acceptor::State::take_finished() {
  return all_listeners().with([&](All&) {
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

// Until there is news, or a client's time is up, a slice at most.
void Acceptor::State::wait(Deadline deadline) {
  std::int64_t until = std::min(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds);
  const int descriptor = all_listeners().with([&](All&) {
    for (const auto& client : pending) until = std::min(until, client->deadline.nanoseconds());
    return watch.get();
  });
  const std::int64_t left = std::max<std::int64_t>(until - Deadline::now(), 0);
  pollfd about{descriptor, POLLIN, 0};
  const int count = ::poll(&about, 1, static_cast<int>((left + 999'999) / 1'000'000));
  if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
}

// ---- what users hold

Acceptor::Acceptor(const ListenerOptions& options, MessageTypes types) {
  NetworkAddress where =
      parse_address(options.address.empty() ? new_abstract_name() : options.address);
  if (options.authkey.empty() && !where.is_unix()) {
    throw std::invalid_argument("kin: a listener at " + options.address +
                                " needs an authkey: anybody may connect to it");
  }
  if (options.backlog < 1) throw std::invalid_argument("kin: a listener's backlog is 1 at least");
  if (options.handshake_limit.count() <= 0) {
    throw std::invalid_argument("kin: a listener's handshake_limit is more than zero");
  }
  state_ = std::make_shared<State>(options, where, types);
}

Acceptor::State& Acceptor::state() const {
  if (!state_) throw std::logic_error("kin: this listener was moved from");
  // Throws where this process is refused.
  if (this_process_or_none() == 0) this_process();
  return *state_;
}

std::optional<End> Acceptor::accept(Deadline deadline) const {
  State& listener = state();
  while (true) {
    listener.progress();
    if (auto outcome = listener.take_finished()) {
      if (outcome->refused) std::rethrow_exception(outcome->refused);
      return std::move(outcome->accepted);
    }
    if (deadline.has_passed()) return std::nullopt;
    SoftLimit::check();
    const UseOfListener use(state_);
    listener.wait(deadline);
  }
}

std::string Acceptor::address() const { return state().address; }

std::optional<std::string> Acceptor::last_accepted() const {
  State& listener = state();
  return all_listeners().with([&](All&) { return listener.last_accepted; });
}

void Acceptor::close() const { state().close(); }
bool Acceptor::closed() const { return !state_ || state_->is_closed.load(); }

int Acceptor::fileno() const {
  State& listener = state();
  return all_listeners().with([&](All&) {
    listener.require_open();
    listener.ensure_watch();
    return listener.watch.get();
  });
}

std::shared_ptr<const void> Acceptor::hold() const {
  return std::make_shared<UseOfListener>(state_);
}

bool Acceptor::is_ready() const {
  State& listener = state();
  listener.progress();
  return all_listeners().with([&](All&) { return !listener.finished.empty(); });
}

void Acceptor::close_inherited() noexcept {
  State* one = all_listeners().with([](All& all) { return all.first; });
  for (; one != nullptr; one = one->next) one->close_inherited();
}

}  // namespace kin::detail
