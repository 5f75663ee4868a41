// SPDX-License-Identifier: BSL-1.0

// Clients that do what they should not, at a listener's socket: each is closed, costs little memory, and
// holds up nobody else. They are strangers to the listener's family, so they stay on the socket.

#include "wire/handshake.hpp"

#include "support/belongings.hpp"

#include <kin/kin.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <linux/sockios.h>
#include <malloc.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using kin::detail::Handshake;
using Bytes = std::vector<std::byte>;
using Message = std::string;
using namespace std::chrono_literals;

constexpr std::chrono::seconds patience(60);
constexpr const char* key = "the key";

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// The head of a frame of that size.
Bytes head_of(std::uint64_t size) {
  Bytes bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(size >> (8 * i)));
  return bytes;
}

bool eventually(const auto& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// What this process has on its heap.
std::size_t heap_in_use() {
  const auto now = ::mallinfo2();
  return now.uordblks + now.hblkhd;
}

// The log is no part of what a test prints.
class QuietLog {
 public:
  QuietLog() {
    kin::set_log_sink([this](kin::LogLevel, std::string_view) { ++lines_; });
  }
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;
  ~QuietLog() { kin::set_log_sink({}); }
  [[nodiscard]] int lines() const { return lines_.load(); }

 private:
  std::atomic<int> lines_ = 0;
};

// A socket that was connected to a listener, and nothing of kin's.
class RawClient {
 public:
  explicit RawClient(const std::string& address)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    REQUIRE(static_cast<bool>(socket_));
    sockaddr_un place{};
    place.sun_family = AF_UNIX;
    std::copy(address.begin() + 1, address.end(), place.sun_path + 1);  // an abstract name
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
    const timeval limit{.tv_sec = patience.count(), .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    REQUIRE(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&place), size) == 0);
  }

  // Nobody may be listening any more.
  void say(const Bytes& bytes) const {
    static_cast<void>(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
  }
  // What comes next; nothing at the end, or when it takes too long.
  [[nodiscard]] Bytes hear(std::size_t most = 4096) const {
    Bytes bytes(most);
    const ssize_t count = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
  }
  // Waits until the other side has closed it.
  [[nodiscard]] bool is_closed() const {
    std::array<std::byte, 4096> some{};
    while (true) {
      const ssize_t count = ::recv(socket_.get(), some.data(), some.size(), 0);
      if (count == 0 || (count == -1 && errno == ECONNRESET)) return true;
      if (count == -1 && errno != EINTR) return false;
    }
  }
  [[nodiscard]] bool is_closed_now() const {
    pollfd about{socket_.get(), 0, 0};
    return ::poll(&about, 1, 0) == 1 && (about.revents & (POLLHUP | POLLERR)) != 0;
  }
  // Whether all that it has said was read.
  [[nodiscard]] bool was_heard() const {
    int unread = 0;
    return ::ioctl(socket_.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
  }

  // Proves itself as it should; returns what it said, or nothing if it was not let in.
  [[nodiscard]] Bytes prove_itself(const char* with) const {
    const auto type = kin::detail::mark_of<Message>();
    Handshake::Terms terms;
    terms.role = Handshake::Role::client;
    terms.key = with;
    terms.layout = kin::detail::Layout::of_this_program(type, type);
    terms.nonce.fill(std::byte{7});
    terms.family_secret.fill(std::byte{99});
    Handshake handshake(std::move(terms));
    Bytes said;
    while (handshake.state() == Handshake::State::talking) {
      const Bytes heard = hear(handshake.missing());
      if (heard.empty()) return {};
      handshake.feed(heard);
      const Bytes output = handshake.take_output();
      say(output);
      said.insert(said.end(), output.begin(), output.end());
    }
    return handshake.state() == Handshake::State::done ? said : Bytes();
  }

 private:
  kin::UniqueFd socket_;
};

// Somebody who accepts clients, and welcomes them.
class Host {
 public:
  explicit Host(std::chrono::milliseconds handshake_limit = 60s)
      : listener_(kin::ListenerOptions{.authkey = key, .handshake_limit = handshake_limit}),
        thread_([this] { serve(); }) {}
  ~Host() {
    is_over_ = true;
    thread_.join();
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  [[nodiscard]] std::string address() const { return listener_.address(); }
  [[nodiscard]] int refused() const { return refused_; }
  // Whether somebody who does all as it should be is welcome.
  [[nodiscard]] bool serves_others() const {
    const kin::Client<Message> client(address(), {.authkey = key});
    return client.recv_for(patience) == "welcome";
  }

 private:
  void serve() {
    while (!is_over_) {
      try {
        if (const auto connection = listener_.accept_for(10ms)) connection->send("welcome");
      } catch (const kin::AuthenticationError&) {
        ++refused_;
      } catch (const kin::BrokenPipe&) {
        // it did not wait to be welcomed
      }
    }
  }

  kin::Listener<Message> listener_;
  std::atomic<bool> is_over_ = false;
  std::atomic<int> refused_ = 0;
  std::thread thread_;
};

// A listener, and a stranger that it has let in.
struct Strangers {
  kin::Listener<Message> listener;
  RawClient client;
  std::optional<kin::Connection<Message>> connection;

  Strangers()
      : listener(kin::ListenerOptions{.authkey = key, .max_message = std::size_t{512} << 20}),
        client(listener.address()) {
    auto proving = std::async(std::launch::async, [this] { return client.prove_itself(key); });
    connection = listener.accept_for(patience);
    REQUIRE(connection);
    REQUIRE(!proving.get().empty());
  }
};

struct Frame {
  kin::Lock first_use;  // the shared memory is made when it is first used
  support::Belongings before;
  QuietLog log;
  Frame() = default;
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  ~Frame() { CHECK(before.difference_now() == ""); }
};

}  // namespace

TEST_SUITE("bad clients") {
  TEST_CASE_FIXTURE(Frame, "who says what is no handshake is closed, and others are served") {
    const Host host;
    for (const Bytes& said : {bytes_of("GET / HTTP/1.1\r\n\r\n"), head_of(std::uint64_t{1} << 63),
                              head_of(0), Bytes(100000, std::byte{'x'}), bytes_of("kin1\xff")}) {
      const RawClient client(host.address());
      const std::size_t heap_before = heap_in_use();
      client.say(said);
      CHECK(host.serves_others());
      CHECK(client.is_closed());
      CHECK(heap_in_use() < heap_before + (std::size_t{1} << 20));
    }
    CHECK(log.lines() > 0);
  }

  TEST_CASE_FIXTURE(Frame, "half a handshake, or none, is closed when its time is up") {
    const Host host(200ms);
    for (const char* const begun :
         {"", "k", "kin1", "kin1\2", "kin1\2and some bytes of an answer"}) {
      const RawClient client(host.address());
      client.say(bytes_of(begun));
      CHECK(host.serves_others());
      CHECK(client.is_closed());
    }
    // It is told behind the closing.
    CHECK(eventually([&] { return log.lines() >= 5; }));
    CHECK(host.serves_others());
  }

  TEST_CASE_FIXTURE(Frame,
                    "a thousand clients that say nothing cost little, and others are served") {
    constexpr int clients = 1000;
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const rlimit original = limit;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < clients + 200) {
      MESSAGE("skipped: a process may have too few descriptors here");
      return;
    }
    {
      const Host host;
      CHECK(host.serves_others());
      std::vector<RawClient> silent;
      silent.reserve(clients);
      const std::size_t heap_before = heap_in_use();
      for (int i = 0; i < clients; ++i) silent.emplace_back(host.address());
      CHECK(host.serves_others());
      // The oldest go when there are too many; their time is not up.
      const auto open = [&] {
        return std::ranges::count_if(silent, [](const auto& one) { return !one.is_closed_now(); });
      };
      CHECK(eventually([&] { return open() <= 64; }));
      CHECK(silent.front().is_closed());
      const std::size_t after = heap_in_use();
      CHECK(after < heap_before + (std::size_t{1} << 20));
      MESSAGE("memory for ", clients, " silent clients: ", after - std::min(after, heap_before),
              " bytes");
    }
    ::setrlimit(RLIMIT_NOFILE, &original);
  }

  TEST_CASE_FIXTURE(Frame, "a wrong key is told to both sides") {
    const Host host;
    using Client = kin::Client<Message>;
    CHECK_THROWS_AS(Client(host.address(), {.authkey = "the wrong key"}), kin::AuthenticationError);
    CHECK(eventually([&] { return host.refused() == 1; }));
    CHECK(RawClient(host.address()).prove_itself("the wrong key").empty());
    CHECK(eventually([&] { return host.refused() == 2; }));
    CHECK(host.serves_others());
  }

  TEST_CASE_FIXTURE(Frame, "what one client has said is no answer of another's") {
    const Host host;
    const Bytes said = RawClient(host.address()).prove_itself(key);
    REQUIRE(!said.empty());
    for (int i = 0; i < 3; ++i) {
      const RawClient again(host.address());
      again.say(said);
      CHECK(again.is_closed());
    }
    CHECK(eventually([&] { return host.refused() == 3; }));
    CHECK(host.serves_others());
  }

  TEST_CASE_FIXTURE(Frame, "a challenge that comes back is no answer") {
    const Host host;
    {
      const RawClient mirror(host.address());
      mirror.say(mirror.hear());
      CHECK(mirror.is_closed());
    }
    {
      const RawClient one(host.address());
      const RawClient other(host.address());
      one.say(other.hear());
      other.say(one.hear());
      CHECK(one.is_closed());
      CHECK(other.is_closed());
    }
    CHECK(eventually([&] { return host.refused() == 3; }));
    CHECK(host.serves_others());
  }

  TEST_CASE_FIXTURE(Frame, "a frame of 2^63 bytes ends the connection of who was let in") {
    for (const std::uint64_t size :
         {std::uint64_t{1} << 63, ~std::uint64_t{0}, (std::uint64_t{512} << 20) + 1}) {
      const Strangers strangers;
      const std::size_t heap_before = heap_in_use();
      strangers.client.say(head_of(size));
      CHECK_THROWS_AS(static_cast<void>(strangers.connection->recv_for(patience)),
                      kin::SerializationError);
      CHECK_THROWS_AS(static_cast<void>(strangers.connection->recv_for(patience)),
                      kin::EndOfStream);
      CHECK(strangers.client.is_closed());
      CHECK(heap_in_use() < heap_before + (std::size_t{1} << 20));
    }
  }

  TEST_CASE_FIXTURE(Frame, "a frame that is promised costs what has come of it") {
    std::optional<Strangers> strangers;
    strangers.emplace();
    const std::size_t heap_before = heap_in_use();
    strangers->client.say(head_of(std::uint64_t{500} << 20));
    strangers->client.say(Bytes(1000, std::byte{'x'}));
    auto receiving = std::async(std::launch::async, [connection = *strangers->connection] {
      return connection.recv_for(patience);
    });
    CHECK(eventually([&] { return strangers->client.was_heard(); }));
    CHECK(heap_in_use() < heap_before + (std::size_t{1} << 20));
    {
      const kin::Connection<Message> connection = *strangers->connection;
      strangers.reset();  // the client hangs up
      CHECK_THROWS_AS(static_cast<void>(receiving.get()), kin::EndOfStream);
    }
  }

  TEST_CASE_FIXTURE(Frame, "a frame that is no message is told, and costs itself only") {
    const Strangers strangers;
    Bytes stream = head_of(3);
    stream.insert(stream.end(), 3, std::byte{0xff});
    kin::detail::OutArchive out;
    kin::detail::encode(out, Message("a real one"));
    const Bytes head = head_of(out.size());
    stream.insert(stream.end(), head.begin(), head.end());
    stream.insert(stream.end(), out.bytes().begin(), out.bytes().end());
    strangers.client.say(stream);
    CHECK_THROWS_AS(static_cast<void>(strangers.connection->recv_for(patience)),
                    kin::SerializationError);
    CHECK(strangers.connection->recv_for(patience) == "a real one");
  }
}
