// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kin::detail {

/// The commit word of one side of a channel: {shutdown : 1, count : 31, position : 32}. One store to
/// it puts or takes a message.
///
/// The position counts units of 8 bytes across all segments, the count messages; both are modular, and
/// differences between the two sides stay below half of their ranges.
class Cursor {
 public:
  static constexpr std::size_t unit = 8;
  static constexpr std::uint32_t count_mask = 0x7fffffff;

  explicit constexpr Cursor(std::uint64_t word) noexcept : word_(word) {}

  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }
  [[nodiscard]] constexpr std::uint32_t position() const noexcept {
    return static_cast<std::uint32_t>(word_);
  }
  [[nodiscard]] constexpr std::uint32_t count() const noexcept {
    return static_cast<std::uint32_t>(word_ >> 32) & count_mask;
  }
  [[nodiscard]] constexpr bool is_shut_down() const noexcept { return (word_ & shutdown) != 0; }

  /// One message further.
  [[nodiscard]] constexpr Cursor moved_to(std::uint32_t position) const noexcept {
    const std::uint64_t count_then = (count() + 1) & count_mask;
    return Cursor((word_ & shutdown) | (count_then << 32) | position);
  }
  [[nodiscard]] constexpr Cursor shut() const noexcept { return Cursor(word_ | shutdown); }

  /// How many messages lie between `from` and this one, which is not behind it.
  [[nodiscard]] constexpr std::uint32_t count_since(Cursor from) const noexcept {
    return (count() - from.count()) & count_mask;
  }

 private:
  static constexpr std::uint64_t shutdown = std::uint64_t{1} << 63;
  std::uint64_t word_;
};

/// Whether position `left` is before `right`; they are less than half the range apart.
constexpr bool is_before(std::uint32_t left, std::uint32_t right) noexcept {
  return static_cast<std::int32_t>(left - right) < 0;
}

}  // namespace kin::detail
