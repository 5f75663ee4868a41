// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"
#include "stranger.hpp"

#include <kin/kin.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using kin::AuthenticationError;
using kin::Client;
using kin::Listener;
using unit::Stranger;
using Failure = kin::detail::Handshake::Failure;
using namespace std::chrono_literals;

const std::string key = "open sesame";

// A folder for sockets.
struct Folder {
  std::string path;
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "kin-listener-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

// What is logged as a warning while it lives.
struct Warnings {
  std::atomic<int> count = 0;
  Warnings() {
    kin::set_log_sink([this](kin::LogLevel level, std::string_view) {
      if (level == kin::LogLevel::warning) ++count;
    });
  }
  ~Warnings() { kin::set_log_sink({}); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;
};

template <typename T>
kin::Connection<T> accept(const Listener<T>& listener) {
  auto connection = listener.accept_for(unit::patience);
  REQUIRE(connection.has_value());
  return *connection;
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST_SUITE("listener") {
  TEST_CASE("relatives and strangers meet at every kind of address") {
    const Folder folder;
    for (const std::string& where :
         {std::string("127.0.0.1:0"), std::string("[::1]:0"), std::string("localhost:0"),
          folder.path + "/socket", std::string(), "@kin-test-" + std::to_string(::getpid())}) {
      CAPTURE(where);
      const unit::Frame frame;
      const Listener<std::string> listener({.address = where, .authkey = key});
      CHECK(!listener.last_accepted());
      unit::Relative child([&] {
        const Client<std::string> client(listener.address(), {.authkey = key});
        client.send("from a relative");
        return client.recv();
      });
      {
        const auto connection = accept(listener);
        CHECK(connection.recv() == "from a relative");
        connection.send("welcome");
        CHECK(child.answer() == "welcome");
        CHECK_THROWS_AS(static_cast<void>(connection.recv()), kin::EndOfStream);
        const bool is_tcp = listener.address().find("]:") != std::string::npos ||
                            listener.address().starts_with("127.");
        CHECK(listener.last_accepted()->empty() != is_tcp);
      }
      Stranger stranger(listener.address());
      std::thread thread(
          [&] { CHECK(stranger.shake_hands(key, unit::types<std::string>()) == Failure::none); });
      const auto connection = accept(listener);
      thread.join();
      const auto other = stranger.connection<std::string>();
      other.send("from a stranger");
      CHECK(connection.recv() == "from a stranger");
      connection.send("welcome, too");
      CHECK(other.recv() == "welcome, too");
      listener.close();
      listener.close();
      CHECK(listener.closed());
      CHECK_THROWS_AS(static_cast<void>(listener.try_accept()), std::logic_error);
    }
  }

  TEST_CASE("relatives leave the socket: handles travel") {
    const unit::Frame frame;
    const Listener<kin::Queue<int>> listener({.address = "127.0.0.1:0", .authkey = key});
    unit::Relative child([&] {
      const Client<kin::Queue<int>> client(listener.address(), {.authkey = key});
      client.recv().put(42);
      return "";
    });
    const kin::Queue<int> queue;
    accept(listener).send(queue);
    CHECK(queue.get_for(unit::patience) == 42);
    CHECK(child.answer() == "");
  }

  TEST_CASE("a client is a connection wherever one is wanted") {
    const unit::Frame frame;
    const Listener<int> listener;
    std::thread thread([&] { accept(listener).send(7); });
    const Client<int> client(listener.address());
    thread.join();
    CHECK(kin::wait_any({client}, unit::patience) == std::vector<std::size_t>{0});
    const kin::Connection<int> copy = client;
    CHECK(copy.recv() == 7);
    std::vector<int> rest;
    for (const int number : client) rest.push_back(number);
    CHECK(rest.empty());
  }

  TEST_CASE("a wrong key is an AuthenticationError on both sides, and the listener goes on") {
    const unit::Frame frame;
    const Listener<int> listener({.address = "127.0.0.1:0", .authkey = key});
    for (const std::string& wrong : {std::string("open barley"), key + " ", std::string("x")}) {
      unit::Relative child([&] {
        try {
          const Client<int> client(listener.address(), {.authkey = wrong});
          return "let in";
        } catch (const AuthenticationError&) {
          return "refused";
        }
      });
      CHECK_THROWS_AS(static_cast<void>(listener.accept_for(unit::patience)), AuthenticationError);
      CHECK(child.answer() == "refused");
    }
    unit::Relative child(
        [&] { return std::to_string(Client<int>(listener.address(), {.authkey = key}).recv()); });
    accept(listener).send(5);
    CHECK(child.answer() == "5");
  }

  TEST_CASE("other types of messages are told to both sides") {
    const unit::Frame frame;
    const Listener<int, double> listener;
    unit::Relative child([&] {
      try {
        const Client<int, double> client(
            listener.address());  // which sends what the listener sends
        return "let in";
      } catch (const kin::SerializationError&) {
        return "refused";
      }
    });
    CHECK_THROWS_AS(static_cast<void>(listener.accept_for(unit::patience)),
                    kin::SerializationError);
    CHECK(child.answer() == "refused");
    unit::Relative fitting(
        [&] { return std::to_string(Client<double, int>(listener.address()).recv()); });
    auto connection = listener.accept_for(unit::patience);
    REQUIRE(connection.has_value());
    connection->send(5);
    CHECK(fitting.answer() == "5");
  }

  TEST_CASE("silent, broken and strange clients are dropped with a line, and hold up nobody") {
    const Warnings warnings;
    const unit::Frame frame;
    const Listener<int> listener(
        {.address = "127.0.0.1:0", .authkey = key, .handshake_limit = 300ms});
    const Stranger silent(listener.address());
    const Stranger half(listener.address());
    half.say(bytes_of("kin1\x02 and no more"));
    const Stranger garbage(listener.address());
    garbage.say(bytes_of("GET / HTTP/1.1\r\n\r\n"));
    Stranger gone(listener.address());
    gone.hang_up();
    // They are there first.
    CHECK(!listener.try_accept());
    unit::Relative child(
        [&] { return std::to_string(Client<int>(listener.address(), {.authkey = key}).recv()); });
    accept(listener).send(5);
    CHECK(child.answer() == "5");
    CHECK(unit::eventually([&] {
      CHECK(!listener.try_accept());
      return warnings.count == 4;
    }));
    CHECK(silent.is_hung_up_on());
    CHECK(half.is_hung_up_on());
    CHECK(garbage.is_hung_up_on());
  }

  TEST_CASE("accept_for drops a silent client while it waits") {
    const Warnings warnings;
    const unit::Frame frame;
    const Listener<int> listener(
        {.address = "127.0.0.1:0", .authkey = key, .handshake_limit = 20ms});
    const Stranger silent(listener.address());
    std::thread thread([&] {
      CHECK(silent.is_hung_up_on());
      Client<int>(listener.address(), {.authkey = key}).send(1);
    });
    CHECK(accept(listener).recv() == 1);
    thread.join();
    CHECK(warnings.count == 1);
  }

  TEST_CASE("of hundreds of silent clients 64 are kept, the youngest, and others are let in") {
    const Warnings warnings;
    const unit::Frame frame;
    const Listener<int> listener(
        {.address = "", .authkey = key, .backlog = 1000, .handshake_limit = 60s});
    const int before = support::open_descriptors();
    {
      std::vector<Stranger> silent;
      for (int i = 0; i < 400; ++i) {
        silent.emplace_back(listener.address());
        CHECK(!listener.try_accept());
        CHECK(support::open_descriptors() <= before + i + 1 + 64 + 2);
      }
      CHECK(warnings.count == 400 - 64);
      CHECK(silent.front().is_hung_up_on());
      std::thread thread([&] { Client<int>(listener.address(), {.authkey = key}).send(1); });
      CHECK(accept(listener).recv() == 1);
      thread.join();
    }
  }

  TEST_CASE("what was heard of one client lets in no other") {
    const unit::Frame frame;
    const Listener<int> listener({.address = "127.0.0.1:0", .authkey = key});
    // A man in the middle who hears a real client, and says the same to the listener again.
    std::vector<std::byte> heard;
    {
      kin::detail::Handshake real({.role = kin::detail::Handshake::Role::client, .key = key});
      const Stranger middle(listener.address());
      std::thread thread([&] {
        real.feed(middle.hear(37));
        heard = real.take_output();
        middle.say(heard);
        real.feed(middle.hear(58));
      });
      CHECK(!listener.accept_for(100ms));
      thread.join();
      const auto agreed = real.take_output();
      heard.insert(heard.end(), agreed.begin(), agreed.end());
    }
    const Stranger again(listener.address());
    again.say(heard);
    CHECK_THROWS_AS(static_cast<void>(listener.accept_for(unit::patience)), AuthenticationError);
    const Stranger mirror(listener.address());
    std::thread thread([&] { mirror.say(mirror.hear(37)); });
    CHECK_THROWS_AS(static_cast<void>(listener.accept_for(unit::patience)), AuthenticationError);
    thread.join();
  }

  TEST_CASE("a listener that does not know the key is found out by the client") {
    const unit::Frame frame;
    auto [one, other] = support::socket_pair(support::SocketKind::tcp);
    static_cast<void>(one);
    const kin::UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un place{};
    place.sun_family = AF_UNIX;
    const auto size = static_cast<socklen_t>(sizeof place.sun_family);
    CHECK(::bind(listening.get(), reinterpret_cast<sockaddr*>(&place), size) == 0);
    socklen_t named = sizeof place;
    CHECK(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&place), &named) == 0);
    CHECK(::listen(listening.get(), 1) == 0);
    std::string address(place.sun_path, named - sizeof place.sun_family);
    address.front() = '@';
    std::thread thread([&] {
      const kin::UniqueFd peer(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
      kin::detail::Handshake fake({.role = kin::detail::Handshake::Role::listener, .key = "guess"});
      CHECK(kin::detail::send_at_once(peer.get(), fake));
      std::byte bytes[200];
      CHECK(::recv(peer.get(), bytes, sizeof bytes, 0) > 0);
    });
    CHECK_THROWS_AS(Client<int>(address, {.authkey = key}), kin::Error);
    thread.join();
  }

  TEST_CASE("what is no address, and what can't be reached, is told with its name") {
    const unit::Frame frame;
    const auto text_of = [](const auto& action) -> std::string {
      try {
        action();
        return "";
      } catch (const std::exception& error) {
        return error.what();
      }
    };
    for (const std::string& wrong :
         {std::string("localhost"), std::string("127.0.0.1:70000"), std::string("127.0.0.1:"),
          std::string("127.0.0.1:-1"), std::string("127.0.0.1:http"), std::string("::1:5000"),
          std::string("@"), "/" + std::string(200, 'x'), "@" + std::string(200, 'x')}) {
      CAPTURE(wrong);
      CHECK_THROWS_AS(Listener<int>({.address = wrong, .authkey = key}), std::invalid_argument);
      CHECK_THROWS_AS(Client<int>(wrong, {.authkey = key}), std::invalid_argument);
      CHECK(text_of([&] { Client<int>(wrong, {.authkey = key}); }).find(wrong) !=
            std::string::npos);
    }
    for (const std::string& lost :
         {std::string("127.0.0.1:1"), std::string("/no/such/socket"), std::string("@kin-nobody")}) {
      CAPTURE(lost);
      CHECK_THROWS_AS(Client<int>(lost, {.authkey = key}), kin::SystemError);
      CHECK(text_of([&] { Client<int>(lost, {.authkey = key}); }).find(lost) != std::string::npos);
    }
    CHECK_THROWS_AS(Listener<int>({.address = "no.such.host.invalid:0", .authkey = key}),
                    kin::Error);
    CHECK_THROWS_AS(Listener<int>({.address = "127.0.0.1:0"}), std::invalid_argument);
    CHECK_THROWS_AS(Client<int>("127.0.0.1:1"), std::invalid_argument);
    CHECK_THROWS_AS(Listener<int>({.backlog = 0}), std::invalid_argument);
    CHECK_THROWS_AS(Listener<int>({.handshake_limit = 0ms}), std::invalid_argument);
  }

  TEST_CASE("an address can be had once, and again when its listener is gone") {
    const unit::Frame frame;
    const Folder folder;
    for (const std::string& where : {std::string("127.0.0.1:0"), folder.path + "/socket",
                                     "@kin-twice-" + std::to_string(::getpid())}) {
      CAPTURE(where);
      std::string address;
      {
        const Listener<int> listener({.address = where, .authkey = key});
        address = listener.address();
        CHECK_THROWS_AS(Listener<int>({.address = address, .authkey = key}), kin::SystemError);
      }
      const Listener<int> listener({.address = address, .authkey = key});
      CHECK(listener.address() == address);
    }
    CHECK(std::filesystem::is_empty(folder.path));
  }

  TEST_CASE("a socket that a killed listener left is taken over, and nothing else is removed") {
    const unit::Frame frame;
    const Folder folder;
    const std::string path = folder.path + "/socket";
    {
      unit::Relative child([&] {
        const Listener<int> listener(path);
        ::kill(::getpid(), SIGKILL);
        return "";
      });
      CHECK(child.answer() != "");
    }
    CHECK(std::filesystem::is_socket(path));
    {
      const Listener<int> listener(path);
      // A child's copy, closed, leaves the path alone.
      unit::Relative child([&] {
        listener.close();
        return "";
      });
      CHECK(child.answer() == "");
      CHECK(std::filesystem::is_socket(path));
      // A file that took the place of its own stays.
      std::filesystem::remove(path);
      std::ofstream(path) << "precious";
    }
    CHECK(std::filesystem::file_size(path) == 8);
    CHECK_THROWS_AS(Listener<int>{path}, kin::SystemError);
    CHECK(std::filesystem::file_size(path) == 8);
  }

  TEST_CASE("a process of another user is not let in without a key") {
    if (::geteuid() != 0) {
      std::puts("skipped: only root can be another user");
      return;
    }
    const unit::Frame frame;
    const Listener<int> listener;
    unit::Relative child([&] {
      if (::setuid(65534) != 0) return "no other user";
      try {
        const Client<int> client(listener.address());
        return "let in";
      } catch (const kin::Error&) {
        return "refused";
      }
    });
    CHECK_THROWS_AS(static_cast<void>(listener.accept_for(unit::patience)), AuthenticationError);
    CHECK(child.answer() == "refused");
  }

  TEST_CASE("a listener is ready for wait_any when a client has proved itself, and not before") {
    const unit::Frame frame;
    const Listener<int> listener({.address = "127.0.0.1:0", .authkey = key});
    const Stranger silent(listener.address());
    CHECK(kin::wait_any({listener}, 10ms).empty());
    std::thread thread([&] { Client<int>(listener.address(), {.authkey = key}).send(1); });
    CHECK(kin::wait_any({listener}, unit::patience) == std::vector<std::size_t>{0});
    pollfd about{listener.fileno(), POLLIN, 0};
    CHECK(::poll(&about, 1, 0) == 1);
    auto connection = listener.try_accept();
    REQUIRE(connection.has_value());
    CHECK(connection->recv() == 1);
    thread.join();
    CHECK(kin::wait_any({listener}, 10ms).empty());
  }

  TEST_CASE("what an accepted connection has unread is no news of the listener") {
    for (const std::string& where : {std::string(), std::string("127.0.0.1:0")}) {
      CAPTURE(where);
      const unit::Frame frame;
      const Listener<int> listener({.address = where, .authkey = key});
      Stranger stranger(listener.address());
      std::thread thread(
          [&] { CHECK(stranger.shake_hands(key, unit::types<int>()) == Failure::none); });
      const auto connection = accept(listener);
      thread.join();
      const auto other = stranger.connection<int>();
      other.send(1);
      CHECK(connection.poll_for(unit::patience));
      pollfd about{listener.fileno(), POLLIN, 0};
      CHECK(::poll(&about, 1, 0) == 0);
      other.close();
      CHECK(connection.recv() == 1);
      CHECK_THROWS_AS(static_cast<void>(connection.recv()), kin::EndOfStream);
      CHECK(::poll(&about, 1, 0) == 0);
    }
  }

  TEST_CASE("several threads and processes accept at the same listener") {
    const unit::Frame frame;
    const Listener<int> listener({.address = "127.0.0.1:0", .authkey = key});
    constexpr int each = 10;
    const auto serve = [&] {
      for (int i = 0; i < each; ++i) {
        const auto connection = listener.accept();
        connection.send(connection.recv() + 1);
      }
    };
    unit::Relative child([&] {
      serve();
      return "";
    });
    std::thread one(serve);
    std::thread other(serve);
    int right = 0;
    for (int i = 0; i < 3 * each; ++i) {
      const Client<int> client(listener.address(), {.authkey = key});
      client.send(i);
      right += client.recv() == i + 1 ? 1 : 0;
    }
    CHECK(right == 3 * each);
    CHECK(child.answer() == "");
    one.join();
    other.join();
  }

  TEST_CASE("the authkey of a process is its children's, and another one only from then on") {
    const unit::Frame frame;
    const std::string family = kin::authkey();
    CHECK(family.size() == 32);
    CHECK(family == kin::authkey());
    const Listener<int> listener({.address = "127.0.0.1:0", .authkey = family});
    unit::Relative child([&] {
      Client<int>(listener.address(), {.authkey = kin::authkey()}).send(1);
      kin::set_authkey("a child's own");
      return kin::authkey();
    });
    CHECK(accept(listener).recv() == 1);
    CHECK(child.answer() == "a child's own");
    CHECK(kin::authkey() == family);

    CHECK_THROWS_AS(kin::set_authkey(""), std::invalid_argument);
    // Only in a child, since it is for good.
    unit::Relative other([&] {
      kin::set_authkey("another");
      unit::Relative grandchild([] { return kin::authkey(); });
      return grandchild.answer();
    });
    CHECK(other.answer() == "another");
  }

  TEST_CASE("close() wakes who waits in accept()") {
    const unit::Frame frame;
    const Listener<int> listener;
    std::thread thread(
        [&] { CHECK_THROWS_AS(static_cast<void>(listener.accept()), std::logic_error); });
    CHECK(!listener.try_accept());
    listener.close();
    thread.join();
    CHECK_THROWS_AS(Client<int>{listener.address()}, kin::SystemError);
  }

  TEST_CASE("clients in their handshakes are not a child's") {
    const unit::Frame frame;
    const Listener<int> listener(
        {.address = "127.0.0.1:0", .authkey = key, .handshake_limit = 60s});
    const Stranger silent(listener.address());
    CHECK(unit::eventually([&] {
      static_cast<void>(listener.try_accept());
      return !silent.hear(37).empty();
    }));
    unit::Relative child([&] {
      ::pause();
      return "";
    });
    CHECK(unit::eventually([&] { return child.stamp() != 0; }));
    listener.close();
    CHECK(silent.is_hung_up_on());
    // The child's listener is still there.
    const Stranger late(listener.address());
  }

  TEST_CASE("who waits for a listener that does not answer gives up in time") {
    const unit::Frame frame;
    const Listener<int> listener;
    CHECK_THROWS_AS(Client<int>(listener.address(), {.handshake_limit = 20ms}), kin::TimeoutError);
    const Listener<int> full({.backlog = 1});
    std::vector<Stranger> waiting;
    for (int i = 0; i < 2; ++i) waiting.emplace_back(full.address());
    CHECK_THROWS_AS(Client<int>(full.address(), {.connect_limit = 20ms}), kin::TimeoutError);
  }

  TEST_CASE("processes of pools have no listener") {
    const unit::Frame frame;
    const Listener<int> listener({.address = "127.0.0.1:0", .authkey = key});
    kin::Pool pool(1);
    CHECK(pool.apply([] { return 5; }) == 5);
    const std::string address = listener.address();
    listener.close();
    CHECK_THROWS_AS(Client<int>(address, {.authkey = key}), kin::SystemError);
    pool.close();
    pool.join();
  }
}

}  // namespace
