// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/unique_fd.hpp>

#include <span>
#include <string>

#include <sys/types.h>

namespace kin::detail {

struct NetworkAddress;
struct SocketAddress;

/// A socket that listens, and the file that stands for it, if it has one.
struct ListeningSocket {
  UniqueFd socket;
  std::string address;  // where it really is
  std::string path;     // of its file, from the root; empty: none
  dev_t device = 0;
  ino_t inode = 0;

  /// Removes its file, if that is still its own.
  void unlink() const noexcept;
};

/// At the first of these places, where the address was found, that can be had. Throws SystemError that names the
/// address.
ListeningSocket listen_at(const NetworkAddress& address, std::span<const SocketAddress> places,
                          int backlog);

/// A connection over TCP: what is sent goes at once, and a peer that vanishes without a word, as when its machine
/// loses power, is taken for gone within half a minute.
void set_up_tcp(int socket) noexcept;

/// A name for an abstract socket that nobody else has.
std::string new_abstract_name();

}  // namespace kin::detail
