// SPDX-License-Identifier: BSL-1.0
//
// The only place where bytes that come from a socket become messages. It runs after the peer has been
// authenticated (wire/handshake), and believes it no more for that: a length is a claim.

#include "wire/frame.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kin::detail {
namespace {

std::uint64_t size_in(std::span<const std::byte, frame_head_size> head) noexcept {
  std::uint64_t size = 0;
  for (std::size_t i = frame_head_size; i-- > 0;) {
    size = size << 8 | std::to_integer<std::uint64_t>(head[i]);
  }
  return size;
}

}  // namespace

FrameHead frame_head(std::size_t size) noexcept {
  FrameHead head{};
  for (std::byte& each : head) {
    each = static_cast<std::byte>(size & 0xff);
    size >>= 8;
  }
  return head;
}

std::size_t FrameReader::missing() const noexcept {
  if (is_refused_) return 0;
  if (head_filled_ < frame_head_size) return frame_head_size - head_filled_;
  return static_cast<std::size_t>(size_) - body_.size();
}

bool FrameReader::is_whole() const noexcept {
  return head_filled_ == frame_head_size && !is_refused_ && body_.size() == size_;
}

std::size_t FrameReader::feed(std::span<const std::byte> bytes) {
  std::size_t taken = 0;
  if (head_filled_ < frame_head_size) {
    taken = std::min(bytes.size(), missing());
    std::copy_n(bytes.begin(), taken, head_.begin() + static_cast<std::ptrdiff_t>(head_filled_));
    head_filled_ += taken;
    if (head_filled_ < frame_head_size) return taken;
    size_ = size_in(head_);
    is_refused_ = size_ > max_size_;
    bytes = bytes.subspan(taken);
  }
  // Not reserved: what it says of its size costs no memory.
  const auto body = bytes.first(std::min(bytes.size(), missing()));
  body_.insert(body_.end(), body.begin(), body.end());
  return taken + body.size();
}

std::vector<std::byte> FrameReader::take() noexcept {
  head_filled_ = 0;
  size_ = 0;
  return std::exchange(body_, {});
}

std::span<const std::byte> FrameReader::find_whole(
    std::span<const std::byte> bytes) const noexcept {
  if (bytes.size() < frame_head_size) return {};
  const std::uint64_t size = size_in(bytes.first<frame_head_size>());
  if (size > max_size_ || size > bytes.size() - frame_head_size) return {};
  return bytes.first(frame_head_size + static_cast<std::size_t>(size));
}

}  // namespace kin::detail
