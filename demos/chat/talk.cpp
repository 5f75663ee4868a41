// SPDX-License-Identifier: BSL-1.0

#include "talk.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace chat {
namespace {

int checked(const char* call, int result) {
  if (result == -1) throw kin::SystemError(call, errno);
  return result;
}

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

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

// ---- the server's side

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

std::uint16_t port_of(const kin::UniqueFd& listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  checked("getsockname",
          ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size));
  return ntohs(address.sin_port);
}

Talk talk(const kin::UniqueFd& socket) {
  Talk talk;
  talk.server = ::getpid();
  send_line(socket, "hello, what is your name?");
  LineReader reader(socket);
  const std::string name = talk.name = reader.next();
  send_line(socket, "welcome, " + name);
  for (std::string line; !(line = reader.next()).empty(); ++talk.lines) {
    send_line(socket, name + " said: " + line);
  }
  send_line(socket, "bye, " + name);
  return talk;
}

// ---- the client's side

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

// ---- the command line

std::uint16_t port_argument(int argc, char** argv) {
  if (argc == 1) return 0;
  std::uint16_t port = 0;
  const std::string_view text = argv[1];
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data(), end, port).ptr != end || port == 0) {
    std::cerr << argv[0] << ": a port is a number up to 65535, not '" << text << "'\n";
    std::exit(2);
  }
  return port;
}

}  // namespace chat
