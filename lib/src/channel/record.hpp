// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/cursor.hpp"

#include <cstddef>
#include <cstdint>

namespace kin::detail {

/// A record of a ring is a head word {length : 56, kind : 8} and so many bytes, padded to units. It never
/// wraps around: where the rest of the ring is too small a pad fills it, which is put and taken
/// together with the record behind it.
///
/// A message is one record; or, where it is too large for its ring, `first`, any number of `middle`s,
/// and `last`, or `abort` if its writer died or gave up. Nothing else stands between these.
enum class RecordKind : std::uint8_t {
  message = 1,
  message_with_cargo,  // the cargo's address first
  pad,
  first,             // the length of the whole message first
  first_with_cargo,  // that, then the cargo's address
  middle,
  last,
  abort,
};

constexpr std::uint64_t record_head(std::size_t length, RecordKind kind) {
  return (static_cast<std::uint64_t>(length) << 8) | static_cast<std::uint64_t>(kind);
}
constexpr std::size_t length_in(std::uint64_t head) { return head >> 8; }
constexpr RecordKind kind_in(std::uint64_t head) { return static_cast<RecordKind>(head & 0xff); }

/// How many units a record of that many bytes takes.
constexpr std::uint32_t units_for(std::size_t length) {
  return static_cast<std::uint32_t>(1 + (length + Cursor::unit - 1) / Cursor::unit);
}

}  // namespace kin::detail
