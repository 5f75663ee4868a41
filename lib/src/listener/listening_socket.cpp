// SPDX-License-Identifier: BSL-1.0
//
// Making a socket that listens. A Unix socket with a path leaves its file behind when its process is killed.
// The next listener there takes it over, if nobody listens at it any more; a file that is no socket is left
// alone.

#include "listener/listening_socket.hpp"

#include "base/random.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "listener/address.hpp"

#include <kin/error.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kin::detail {
namespace {

UniqueFd new_socket(int family) {
  return away_from_stdio(
      UniqueFd(checked("socket", ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))));
}

bool same_file(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// Whether there was a socket at which nobody listens, and it was removed. (Two listeners that come at the same
// moment may both find it; between the second look and the removal one may take the other's away.)
bool remove_stale(const SocketAddress& place, const std::string& path) {
  struct stat before {};
  if (::lstat(path.c_str(), &before) != 0 || !S_ISSOCK(before.st_mode)) return false;
  const UniqueFd probe = new_socket(AF_UNIX);
  // A full backlog is EAGAIN: somebody listens.
  if (::connect(probe.get(), place.get(), place.size) == 0 || errno != ECONNREFUSED) return false;
  struct stat now {};
  if (::lstat(path.c_str(), &now) != 0 || !same_file(before, now)) return false;
  return ::unlink(path.c_str()) == 0;
}

void note_file(ListeningSocket& made, const std::string& path) {
  std::error_code ignored;
  const auto whole = std::filesystem::absolute(path, ignored);
  struct stat about {};
  if (ignored || ::lstat(whole.c_str(), &about) != 0) return;
  made.path = whole;
  made.device = about.st_dev;
  made.inode = about.st_ino;
}

// 0, or the error number.
int bind_at(int socket, const NetworkAddress& address, const SocketAddress& place) {
  if (::bind(socket, place.get(), place.size) == 0) return 0;
  if (errno != EADDRINUSE || address.kind != NetworkAddress::Kind::path) return errno;
  if (!remove_stale(place, address.name)) return EADDRINUSE;
  return ::bind(socket, place.get(), place.size) == 0 ? 0 : errno;
}

}  // namespace

void ListeningSocket::unlink() const noexcept {
  struct stat about {};
  if (path.empty() || ::lstat(path.c_str(), &about) != 0) return;
  if (about.st_dev == device && about.st_ino == inode) ::unlink(path.c_str());
}

ListeningSocket listen_at(const NetworkAddress& address, std::span<const SocketAddress> places,
                          int backlog) {
  int error = EADDRNOTAVAIL;
  for (const SocketAddress& place : places) {
    ListeningSocket made;
    made.socket = new_socket(place.storage.ss_family);
    const int on = 1;
    if (!address.is_unix()) {
      ::setsockopt(made.socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    error = bind_at(made.socket.get(), address, place);
    if (error != 0) continue;
    // If killed from here on: the file stays, and the next listener there takes it over.
    if (address.kind == NetworkAddress::Kind::path) note_file(made, address.name);
    if (::listen(made.socket.get(), backlog) != 0) {
      error = errno;
      made.unlink();
      continue;
    }
    SocketAddress real;
    real.size = sizeof real.storage;
    checked("getsockname", ::getsockname(made.socket.get(), real.get(), &real.size));
    made.address = address.kind == NetworkAddress::Kind::path ? address.text : text_of(real);
    return made;
  }
  throw SystemError("listen at " + address.text, error);
}

std::string new_abstract_name() {
  std::array<std::byte, 8> random{};
  fill_randomly(random);
  std::string name = "@kin-";
  for (const std::byte each : random) {
    constexpr const char* digits = "0123456789abcdef";
    name += digits[std::to_integer<unsigned>(each >> 4)];
    name += digits[std::to_integer<unsigned>(each & std::byte{15})];
  }
  return name;
}

// See tcp(7). Where an option can't be had the connection works without.
void set_up_tcp(int socket) noexcept {
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(socket, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);  // seconds
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 25'000);  // milliseconds
}

}  // namespace kin::detail
