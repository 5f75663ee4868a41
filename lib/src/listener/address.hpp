// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>
#include <vector>

#include <sys/socket.h>

namespace kin::detail {

/// An address as users write it.
struct NetworkAddress {
  enum class Kind { tcp, path, abstract };
  Kind kind;
  std::string text;  // all of it, as it was given
  std::string host;  // of TCP; empty: any, for a listener, and this machine for a client
  std::string port;
  std::string name;  // of a Unix socket: the path, or what comes behind the @

  [[nodiscard]] bool is_unix() const noexcept { return kind != Kind::tcp; }
};

/// Throws std::invalid_argument for what can't be one.
NetworkAddress parse_address(const std::string& text);

/// An address as the kernel has it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

/// Where that is: several places, in the order in which to try them. Throws Error for an unknown host.
std::vector<SocketAddress> find_address(const NetworkAddress& address, bool to_listen);

/// As parse_address() reads it; empty for a Unix socket without a name.
std::string text_of(const SocketAddress& address);

}  // namespace kin::detail
