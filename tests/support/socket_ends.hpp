// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/syscall.hpp"

#include <kin/connection.hpp>

#include <cstddef>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

namespace support {

enum class SocketKind { unix_domain, tcp };

struct EndMaker;

inline std::pair<kin::UniqueFd, kin::UniqueFd> socket_pair(SocketKind kind) {
  using kin::detail::checked;
  if (kind == SocketKind::unix_domain) {
    int sockets[2];
    checked("socketpair", ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
    return {kin::UniqueFd(sockets[0]), kin::UniqueFd(sockets[1])};
  }
  const auto new_socket = [] {
    return kin::UniqueFd(checked("socket", ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  };
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* place = reinterpret_cast<sockaddr*>(&address);
  const kin::UniqueFd listening = new_socket();
  checked("bind", ::bind(listening.get(), place, size));
  checked("listen", ::listen(listening.get(), 1));
  checked("getsockname", ::getsockname(listening.get(), place, &size));
  kin::UniqueFd one = new_socket();
  checked("connect", ::connect(one.get(), place, size));
  kin::UniqueFd other(
      checked("accept4", ::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  return {std::move(one), std::move(other)};
}

inline kin::detail::End end_over(kin::UniqueFd socket, std::size_t max_message = 1 << 28) {
  return kin::detail::End::over(std::move(socket), max_message);
}

}  // namespace support

/// Makes connections of ends, as only a Pipe, a Listener and a Client may.
template <>
struct kin::Pipe<support::EndMaker, support::EndMaker> {
  template <typename Out, typename In = Out>
  static kin::Connection<Out, In> connection(kin::detail::End end) {
    return kin::Connection<Out, In>(std::move(end));
  }
};

namespace support {

/// Both sides of a connection over a socket, as between strangers.
template <typename Out, typename In = Out>
struct SocketConnections {
  kin::Connection<Out, In> first;
  kin::Connection<In, Out> second;

  explicit SocketConnections(SocketKind kind, std::size_t max_message = 1 << 28) {
    auto [one, other] = socket_pair(kind);
    using Maker = kin::Pipe<EndMaker, EndMaker>;
    first = Maker::connection<Out, In>(end_over(std::move(one), max_message));
    second = Maker::connection<In, Out>(end_over(std::move(other), max_message));
  }
};

}  // namespace support
