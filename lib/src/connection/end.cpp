// SPDX-License-Identifier: BSL-1.0
//
// Ends of pipes, and where those of connections over sockets part from them (socket_end). An end of a pipe
// is a channel for each of its directions, and a socket whose only business is what shared memory can't
// tell: that nobody has the other end any more, and waking those who sleep in poll(). The sockets are a
// pair; a byte that was sent by one end makes the other's readable.

#include <kin/connection.hpp>
#include <kin/detail/handle_of.hpp>

#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "channel/stream.hpp"
#include "connection/end_state.hpp"
#include "connection/socket_end.hpp"
#include "os/fork.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

int milliseconds_until(Deadline deadline) {
  if (deadline.is_never()) return -1;
  const std::int64_t left = deadline.nanoseconds() - Deadline::now();
  constexpr std::int64_t longest = 1'000'000'000'000;
  return static_cast<int>((std::clamp<std::int64_t>(left, 0, longest) + 999'999) / 1'000'000);
}

/// An end in the hands of a thread that sends or receives.
class SocketLine final : public PipeLine {
 public:
  explicit SocketLine(End::State& end) noexcept : end_(end) {}

  void ring() override {
    all_ends().with([this](Ends&) {
      if (!end_.socket) complain_closed(end_);
      // Full: then it is readable anyhow. Nobody there: then nobody sleeps.
      static_cast<void>(::send(end_.socket.get(), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
    });
  }

  void silence() noexcept override {
    all_ends().with([this](Ends&) {
      if (!end_.socket) return;
      char bytes[1];
      while (::recv(end_.socket.get(), bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
      }
      std::uint64_t count = 0;
      if (end_.own_bell) static_cast<void>(::read(end_.own_bell.get(), &count, sizeof count));
    });
  }

  void ring_here() noexcept override {
    all_ends().with([this](Ends&) {
      if (end_.own_bell) ::eventfd_write(end_.own_bell.get(), 1);
    });
  }

  bool peer_is_gone() override {
    const Use use(end_);
    if ((look(0) & POLLHUP) == 0) return false;
    end_.peer_is_gone.store(true, std::memory_order_relaxed);
    return true;
  }

  bool sleep(Deadline deadline) override {
    const Use use(end_);
    return look(milliseconds_until(deadline)) != 0;
  }

  bool is_time_to_look(const ByteChannel& channel) noexcept override {
    constexpr std::uint32_t now_and_then = 256;
    const std::uint32_t sends = end_.sends.load(std::memory_order_relaxed) + 1;
    end_.sends.store(sends, std::memory_order_relaxed);
    const std::uint32_t closings = channel.closings.load(std::memory_order_relaxed);
    if (sends % now_and_then != 0 && !end_.peer_is_gone.load(std::memory_order_relaxed) &&
        closings == end_.closings_seen.load(std::memory_order_relaxed)) {
      return false;
    }
    end_.closings_seen.store(closings, std::memory_order_relaxed);
    return true;
  }

 private:
  int look(int milliseconds) const {
    pollfd about{end_.socket.get(), POLLIN, 0};
    const int result = ::poll(&about, 1, milliseconds);
    if (result == -1 && errno != EINTR) throw SystemError("poll", errno);
    if (result <= 0) return 0;
    if ((about.revents & POLLNVAL) != 0) throw SystemError("poll", EBADF);
    return about.revents;
  }

  End::State& end_;
};

}  // namespace

std::pair<End, End> End::make_pair(unsigned ways) {
  const auto one_way = [](bool wanted) {
    return wanted ? Handle(make_channel({.most_units = pipe_units})) : Handle();
  };
  const Handle there = one_way((ways & writes) != 0);
  const Handle back = one_way((ways & reads) != 0);
  const auto one = std::make_shared<State>(back, there);
  const auto other = std::make_shared<State>(there, back);
  all_ends().with([&](Ends&) {
    int sockets[2];
    checked("socketpair", ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets));
    other->socket.reset(sockets[1]);
    one->socket = away_from_stdio(UniqueFd(sockets[0]));
    other->socket = away_from_stdio(std::move(other->socket));
  });
  return {End(one), End(other)};
}

End End::over(UniqueFd socket, std::size_t max_message) {
  auto state = std::make_shared<State>(Handle(), Handle(), make_socket_stream(max_message));
  all_ends().with([&](Ends&) { state->socket = away_from_stdio(std::move(socket)); });
  return End(std::move(state));
}

End::State& End::open() const {
  if (!state_) throw std::logic_error("kin: this end of a pipe was moved from, or names nothing");
  if (state_->is_closed.load(std::memory_order_relaxed)) complain_closed(*state_);
  // Throws where this process is refused: its thread ids may be others', and locks with them.
  if (this_process_or_none() == 0) this_process();
  return *state_;
}

namespace {

// For an end that has no channel to receive from: nothing, if it has a socket instead.
void require_stream_in(const End::State& end) {
  if (!end.stream) throw std::logic_error("kin: this end of the pipe only sends");
}

void require_stream_out(const End::State& end) {
  if (!end.stream) throw std::logic_error("kin: this end of the pipe only receives");
}

}  // namespace

void End::send(std::span<const std::byte> bytes, const OutgoingCargo& cargo) const {
  State& end = open();
  if (!end.out) {
    require_stream_out(end);
    return send_over(end, bytes, cargo);
  }
  SocketLine line(end);
  detail::send(channel_of(end.out), bytes, cargo, line);
}

bool End::receive(std::vector<std::byte>& bytes, IncomingCargo& cargo, Deadline deadline) const {
  State& end = open();
  cargo.clear();
  if (!end.in) {
    require_stream_in(end);
    const auto take = [&](const Arrived& message) {
      if (message.whole != nullptr) {
        bytes = std::move(*message.whole);
      } else {
        bytes.assign(message.bytes.begin(), message.bytes.end());
      }
    };
    return receive_over(end, take, deadline);
  }
  SocketLine line(end);
  const auto fill = [&](const Part& part) {
    if (part.offset == 0) {
      bytes.clear();
      bytes.reserve(part.total);
    }
    bytes.insert(bytes.end(), part.bytes.begin(), part.bytes.end());
  };
  return detail::receive(channel_of(end.in), fill, &cargo, line, deadline);
}

bool End::receive_plain(void* to, std::size_t size, Deadline deadline) const {
  State& end = open();
  std::size_t found = size;
  if (!end.in) {
    require_stream_in(end);
    const auto take = [&](const Arrived& message) {
      found = message.bytes.size();
      if (found == size) std::memcpy(to, message.bytes.data(), size);
    };
    if (!receive_over(end, take, deadline)) return false;
  } else {
    SocketLine line(end);
    const auto fill = [&](const Part& part) {
      found = part.total;
      if (found != size) return;
      std::memcpy(static_cast<std::byte*>(to) + part.offset, part.bytes.data(), part.bytes.size());
    };
    if (!detail::receive(channel_of(end.in), fill, nullptr, line, deadline)) return false;
  }
  if (found != size) throw SerializationError("a message of another size than its type has");
  return true;
}

std::size_t End::receive_into(std::span<std::byte> buffer) const {
  State& end = open();
  std::size_t length = 0;
  if (!end.in) {
    require_stream_in(end);
    const auto take = [&](const Arrived& message) {
      length = message.bytes.size();
      // Only where even its length came in pieces. Then it is gone.
      if (length > buffer.size()) throw BufferTooShort(length);
      std::ranges::copy(message.bytes, buffer.begin());
    };
    receive_over(end, take, Deadline::never(), buffer.size());
    return length;
  }
  SocketLine line(end);
  const auto fill = [&](const Part& part) {
    if (part.total > buffer.size()) throw BufferTooShort(part.total);
    length = part.total;
    if (part.bytes.empty()) return;
    std::memcpy(buffer.data() + part.offset, part.bytes.data(), part.bytes.size());
  };
  detail::receive(channel_of(end.in), fill, nullptr, line, Deadline::never());
  return length;
}

bool End::poll(Deadline deadline) const {
  State& end = open();
  if (!end.in) {
    require_stream_in(end);
    return poll_over(end, deadline);
  }
  SocketLine line(end);
  return wait_to_receive(channel_of(end.in), line, deadline);
}

void End::close() const {
  if (!state_) throw std::logic_error("kin: this end of a pipe was moved from, or names nothing");
  state_->close();
}

bool End::closed() const { return !state_ || state_->is_closed.load(); }

bool End::has(Ways way) const {
  if (!state_) return false;
  if (state_->stream) return true;
  return static_cast<bool>(way == reads ? state_->in : state_->out);
}

bool End::has_stranger() const noexcept { return state_ && state_->stream; }

int End::fileno() const {
  State& end = open();
  if (!end.in) return end.socket.get();
  all_ends().with([&](Ends&) {
    if (end.watch) return;
    UniqueFd bell =
        away_from_stdio(UniqueFd(checked("eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))));
    UniqueFd watch =
        away_from_stdio(UniqueFd(checked("epoll_create1", ::epoll_create1(EPOLL_CLOEXEC))));
    epoll_event event{};
    event.events = EPOLLIN;
    checked("epoll_ctl", ::epoll_ctl(watch.get(), EPOLL_CTL_ADD, end.socket.get(), &event));
    checked("epoll_ctl", ::epoll_ctl(watch.get(), EPOLL_CTL_ADD, bell.get(), &event));
    end.own_bell = std::move(bell);
    end.watch = std::move(watch);
  });
  if (want_bell_always(channel_of(end.in))) {
    checked("eventfd_write", ::eventfd_write(end.own_bell.get(), 1));
  }
  return end.watch.get();
}

std::shared_ptr<const void> End::hold() const { return std::make_shared<Use>(open()); }

bool End::is_ready() const {
  State& end = open();
  if (!end.in) {
    require_stream_in(end);
    return poll_over(end, Deadline::passed());
  }
  ByteChannel& channel = channel_of(end.in);
  SocketLine line(end);
  return has_items(channel) && has_message(channel, line);
}

int End::descriptor() const {
  const State& end = open();
  if (!end.in) require_stream_in(end);
  return end.socket.get();
}

// A socket rings by itself, and is never silenced.

void End::ask_for_bell() const {
  const State& end = open();
  if (end.in) want_bell_once(channel_of(end.in));
}

void End::silence() const {
  State& end = open();
  if (!end.in) return;
  SocketLine line(end);
  silence_false_alarm(channel_of(end.in), line);
}

void End::travel(OutArchive& archive) const {
  const State& end = open();
  const unsigned ways = (end.in ? reads : 0U) | (end.out ? writes : 0U);
  archive.save_binary(&ways, sizeof ways);
  for (const Handle& handle : {end.in, end.out, end.stream}) {
    if (handle) archive.add_handle(handle);
  }
  archive.add_descriptor(end.socket.get());
}

void End::travel(InArchive& archive) {
  unsigned ways = 0;
  archive.load_binary(&ways, sizeof ways);
  const auto take = [&](Ways way) {
    return (ways & way) != 0 ? read_handle(archive, ObjectKind::channel) : Handle();
  };
  Handle in = take(reads);
  Handle out = take(writes);
  // Of neither way: a connection over a socket.
  Handle stream = in || out ? Handle() : read_handle(archive, ObjectKind::stream);
  auto state = std::make_shared<State>(std::move(in), std::move(out), std::move(stream));
  all_ends().with([&](Ends&) { state->socket = archive.next_descriptor(); });
  state_ = std::move(state);
}

}  // namespace kin::detail
