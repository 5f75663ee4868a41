// SPDX-License-Identifier: BSL-1.0

#include "listener/address.hpp"

#include <kin/error.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string_view>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace kin::detail {
namespace {

[[noreturn]] void complain(const std::string& text, const std::string& why) {
  throw std::invalid_argument("kin: \"" + text + "\" is no address: " + why);
}

void require_room(const std::string& text, std::size_t size) {
  constexpr std::size_t most = sizeof(sockaddr_un::sun_path) - 1;
  if (size > most) {
    complain(text, "the name of a Unix socket has " + std::to_string(most) + " bytes at most");
  }
}

NetworkAddress parse_tcp(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) {
    complain(text, "it is neither host:port, nor a path with a '/' in it, nor an abstract @name");
  }
  std::string host = text.substr(0, colon);
  const std::string port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    complain(text, "an IPv6 address stands in brackets, as in [::1]:5000");
  }
  std::uint16_t number = 0;
  const char* end = port.data() + port.size();
  const auto [rest, error] = std::from_chars(port.data(), end, number);
  if (error != std::errc{} || rest != end) complain(text, "a port is a number from 0 to 65535");
  return {.kind = NetworkAddress::Kind::tcp, .text = text, .host = host, .port = port, .name = ""};
}

SocketAddress unix_address(const NetworkAddress& address) {
  SocketAddress made;
  auto& place = reinterpret_cast<sockaddr_un&>(made.storage);
  place.sun_family = AF_UNIX;
  const bool is_abstract = address.kind == NetworkAddress::Kind::abstract;
  std::memcpy(place.sun_path + (is_abstract ? 1 : 0), address.name.data(), address.name.size());
  // Of a path with its null, of an abstract name with the null before it.
  made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.name.size() + 1);
  return made;
}

struct Found {
  explicit Found(addrinfo* first) : list(first, &::freeaddrinfo) {}
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list;
};

}  // namespace

NetworkAddress parse_address(const std::string& text) {
  if (text.find('/') != std::string::npos) {
    if (text.find('\0') != std::string::npos) complain(text, "a path has no null bytes");
    require_room(text, text.size());
    return {.kind = NetworkAddress::Kind::path, .text = text, .host = "", .port = "", .name = text};
  }
  if (text.starts_with('@')) {
    if (text.size() == 1) complain(text, "its name is empty");
    require_room(text, text.size() - 1);
    return {.kind = NetworkAddress::Kind::abstract,
            .text = text,
            .host = "",
            .port = "",
            .name = text.substr(1)};
  }
  return parse_tcp(text);
}

std::vector<SocketAddress> find_address(const NetworkAddress& address, bool to_listen) {
  if (address.is_unix()) return {unix_address(address)};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const char* host = address.host.empty() ? nullptr : address.host.c_str();
  const int result = ::getaddrinfo(host, address.port.c_str(), &hints, &list);
  if (result != 0) {
    throw Error("the address " + address.text + ": " + ::gai_strerror(result));
  }
  const Found found(list);
  std::vector<SocketAddress> all;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    SocketAddress& made = all.emplace_back();
    std::memcpy(&made.storage, one->ai_addr, one->ai_addrlen);
    made.size = one->ai_addrlen;
  }
  return all;
}

std::string text_of(const SocketAddress& address) {
  if (address.storage.ss_family == AF_UNIX) {
    const auto& place = reinterpret_cast<const sockaddr_un&>(address.storage);
    const std::size_t front = offsetof(sockaddr_un, sun_path);
    if (address.size <= front) return "";
    const std::string_view name(place.sun_path, address.size - front);
    if (name.front() == '\0') return std::string("@").append(name.substr(1));
    return std::string(name.substr(0, name.find('\0')));
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  const int result = ::getnameinfo(address.get(), address.size, host.data(), host.size(),
                                   port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV);
  if (result != 0) return "";
  const bool is_v6 = address.storage.ss_family == AF_INET6;
  std::string text = is_v6 ? "[" : "";
  text.append(host.data()).append(is_v6 ? "]:" : ":").append(port.data());
  return text;
}

}  // namespace kin::detail
