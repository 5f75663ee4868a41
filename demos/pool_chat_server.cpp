// SPDX-License-Identifier: BSL-1.0
//
// demo: a chat server: the parent accepts, and hands each accepted socket to a worker of a pool
//
// A socket is a descriptor, and a kin::UniqueFd travels as an argument: the worker gets a descriptor of its
// own of the same connection. It was forked long before the client came. A few workers serve any number of
// clients, one each at a time; the others wait for their turn.
//
//   demos/run pool_chat_server         many clients at once, on a port of loopback that is free
//   demos/run pool_chat_server 7777    a server to talk to: nc 127.0.0.1 7777, end with an empty line

#include <kin/kin.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr int workers = 4;
constexpr int clients = 30;
constexpr int lines = 5;  // of each client

int checked(const char* call, int result) {
  if (result == -1) throw kin::SystemError(call, errno);
  return result;
}

// ---- lines of text on a socket

void send_line(const kin::UniqueFd& socket, const std::string& line) {
  const std::string text = line + '\n';
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t size = ::send(socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (size == -1) throw kin::SystemError("send", errno);
    rest.remove_prefix(static_cast<std::size_t>(size));
  }
}

class LineReader {
 public:
  explicit LineReader(const kin::UniqueFd& socket) : socket_(socket) {}

  /// Empty at the end as well.
  std::string next() {
    std::size_t end = 0;
    while ((end = text_.find('\n')) == std::string::npos) {
      std::array<char, 512> some{};
      const ssize_t size = ::recv(socket_.get(), some.data(), some.size(), 0);
      if (size == -1) throw kin::SystemError("recv", errno);
      if (size == 0) return {};
      text_.append(some.data(), static_cast<std::size_t>(size));
    }
    const std::string line = text_.substr(0, end);
    text_.erase(0, end + 1);
    return line;
  }

 private:
  const kin::UniqueFd& socket_;
  std::string text_;
};

// ---- the worker's part

struct Talk {
  pid_t worker = 0;
  int lines = 0;
};

/// Greets, and answers each line until an empty one. The socket is closed when it returns: the parent's
/// copy was closed when it had handed it over.
Talk talk(const kin::UniqueFd& socket) {
  Talk talk{.worker = ::getpid()};
  send_line(socket, "hello, what is your name?");
  LineReader reader(socket);
  const std::string name = reader.next();
  send_line(socket, "welcome, " + name);
  for (std::string line; !(line = reader.next()).empty(); ++talk.lines) {
    send_line(socket, name + " said: " + line);
  }
  send_line(socket, "bye, " + name);
  return talk;
}

// ---- the parent's part

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

kin::UniqueFd listen_on(std::uint16_t port) {
  kin::UniqueFd listener(checked("socket", ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  const sockaddr_in address = loopback(port);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  checked("bind", ::bind(listener.get(), generic, sizeof address));
  checked("listen", ::listen(listener.get(), clients));
  return listener;
}

kin::UniqueFd accept_one(const kin::UniqueFd& listener) {
  return kin::UniqueFd(
      checked("accept4", ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
}

// ---- the client, a process of its own

/// Returns how many answers were right.
int be_client(int number, std::uint16_t port) {
  const kin::UniqueFd socket(checked("socket", ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  const sockaddr_in address = loopback(port);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  checked("connect", ::connect(socket.get(), generic, sizeof address));

  LineReader reader(socket);
  const std::string name = "client " + std::to_string(number);
  int right = reader.next() == "hello, what is your name?" ? 1 : 0;
  send_line(socket, name);
  if (reader.next() == "welcome, " + name) ++right;
  for (int i = 0; i < lines; ++i) {
    const std::string line = "line " + std::to_string(i);
    send_line(socket, line);
    if (reader.next() == name + " said: " + line) ++right;
  }
  send_line(socket, "");
  if (reader.next() == "bye, " + name) ++right;
  return right;
}

std::uint16_t port_of(const kin::UniqueFd& listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  checked("getsockname",
          ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size));
  return ntohs(address.sin_port);
}

void serve_many_clients() {
  kin::Pool pool(workers);
  kin::Pool others(clients);  // the clients: each a process, all at once
  const kin::UniqueFd listener = listen_on(0);
  const std::uint16_t port = port_of(listener);

  std::vector<kin::Future<int>> answers;
  for (int number = 0; number < clients; ++number) {
    answers.push_back(others.apply_async(be_client, number, port));
  }
  std::vector<kin::Future<Talk>> talks;
  for (int number = 0; number < clients; ++number) {
    talks.push_back(pool.apply_async(talk, accept_one(listener)));
  }

  int said = 0;
  bool was_parent = false;
  for (const kin::Future<Talk>& one : talks) {
    said += one.get().lines;
    was_parent = was_parent || one.get().worker == ::getpid();
  }
  int right = 0;
  for (const kin::Future<int>& one : answers) right += one.get();
  std::cout << workers << " workers talked with " << talks.size() << " clients, who said " << said
            << " lines\n";
  std::cout << "right answers: " << right << " of " << clients * (lines + 3) << '\n';
  std::cout << "the parent, which accepted them all, talked with "
            << (was_parent ? "some" : "nobody") << '\n';
}

void serve_for_ever(std::uint16_t port) {
  kin::Pool pool(workers);
  const kin::UniqueFd listener = listen_on(port);
  std::cout << "listening on 127.0.0.1, port " << port << "; end me with Ctrl-C" << std::endl;
  while (true) {
    const auto complain = [](const std::exception& error) {
      std::cerr << "a talk ended badly: " << error.what() << '\n';
    };
    static_cast<void>(pool.apply_async({.error_callback = complain}, talk, accept_one(listener)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) {
    serve_many_clients();
    return 0;
  }
  std::uint16_t port = 0;
  const std::string_view text = argv[1];
  if (std::from_chars(text.data(), text.data() + text.size(), port).ptr !=
          text.data() + text.size() ||
      port == 0) {
    std::cerr << "pool_chat_server: a port is a number up to 65535, not '" << text << "'\n";
    return 2;
  }
  serve_for_ever(port);
}
