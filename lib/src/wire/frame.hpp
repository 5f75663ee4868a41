// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kin::detail {

/// A message on a socket is its length, 8 bytes with the lowest first, and as many bytes.
inline constexpr std::size_t frame_head_size = 8;
using FrameHead = std::array<std::byte, frame_head_size>;

[[nodiscard]] FrameHead frame_head(std::size_t size) noexcept;

/// Reads messages out of a stream of bytes that nobody vouches for.
///
///     FrameReader reader(max_message);
///     while (!bytes.empty() && !reader.is_refused()) {
///       bytes = bytes.subspan(reader.feed(bytes));
///       if (reader.is_whole()) use(reader.take());
///     }
///
/// Pure: it knows no sockets, and what it does depends on the bytes alone, however they are cut.
/// Memory: grows with the bytes that came, never with what a head says will come.
class FrameReader {
 public:
  /// A message of more bytes than that is refused, at its head.
  explicit FrameReader(std::size_t max_size) noexcept : max_size_(max_size) {}

  /// Takes bytes up to the end of the message, none of those behind it; returns how many. None once the
  /// message is whole or refused.
  std::size_t feed(std::span<const std::byte> bytes);

  /// How many bytes are missing, of the head as long as that is not there, else of the message.
  [[nodiscard]] std::size_t missing() const noexcept;
  [[nodiscard]] bool is_whole() const noexcept;
  /// The stream can't be read any further.
  [[nodiscard]] bool is_refused() const noexcept { return is_refused_; }
  /// Whether a message has begun.
  [[nodiscard]] bool is_inside() const noexcept { return head_filled_ > 0; }
  /// What the head says, where it is there; of a message that is refused, too.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// The whole message; the next one is read after that.
  [[nodiscard]] std::vector<std::byte> take() noexcept;

  /// The message at the front of these bytes, in place, and its head before it; empty unless it is whole and
  /// not refused. For messages that came in one piece.
  [[nodiscard]] std::span<const std::byte> find_whole(
      std::span<const std::byte> bytes) const noexcept;

 private:
  std::size_t max_size_;
  FrameHead head_{};
  std::size_t head_filled_ = 0;
  std::uint64_t size_ = 0;
  std::vector<std::byte> body_;
  bool is_refused_ = false;
};

}  // namespace kin::detail
