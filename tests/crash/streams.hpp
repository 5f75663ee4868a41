// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "crash/pipes.hpp"

#include <kin/connection.hpp>

#include <cstddef>
#include <cstring>
#include <vector>

// Messages that pass through a pipe in pieces of 32 KiB.

namespace crash {

using Bytes = std::vector<std::byte>;
using BytesPipe = FreshPipe<int>;

/// No part of it is like another.
inline Bytes bytes_of(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 2654435761U + seed) >> 13);
  }
  return bytes;
}

/// For traced processes: == of bytes goes from one to the next.
inline bool are_same(const Bytes& one, const Bytes& other) {
  return one.size() == other.size() && std::memcmp(one.data(), other.data(), one.size()) == 0;
}

/// Three pieces, for which a ring has room; 32, for which it has not, by a little; and one that fills it four
/// times, so that each side waits for the other all the way.
inline const Bytes three_pieces = bytes_of(std::size_t{80} << 10, 1);
inline const Bytes mebi = bytes_of(std::size_t{1} << 20, 2);
inline const Bytes four_rings = bytes_of(std::size_t{4} << 20, 5);
inline const Bytes little = bytes_of(100, 3);
inline const Bytes next_large = bytes_of(std::size_t{70} << 10, 4);

static_assert(std::size_t{1} << 20 ==
              std::size_t{kin::detail::pipe_units} * kin::detail::Cursor::unit);

inline std::vector<Bytes> receive_bytes_to_end(const BytesPipe& pipe) {
  std::vector<Bytes> all;
  while (!ends([&] { all.push_back(pipe.reader().recv_bytes()); })) {
  }
  require(ends([&] { return pipe.reader().try_recv(); }), "the end comes twice");
  return all;
}

/// Everything up to a message, which is not waited for in vain.
inline std::vector<Bytes> receive_bytes_up_to(const BytesPipe& pipe, const Bytes& last) {
  std::vector<Bytes> all;
  do all.push_back(pipe.reader().recv_bytes());
  while (all.back() != last);
  return all;
}

/// For Scenario::watch, where bytes alone go through a pipe.
template <typename T>
Ranges stream_around(const FreshPipe<T>& pipe) {
  return {memory_of(pipe.channel()), ring_of(pipe.channel()),
          memory_of(*kin::detail::arena().heap)};
}

}  // namespace crash
