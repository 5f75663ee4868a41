// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <utility>

namespace kin {

/// Owns one file descriptor and closes it.
///
///     kin::UniqueFd file(::open("notes.txt", O_RDONLY | O_CLOEXEC));
///     if (!file) …
///
/// After fork: the child's copy of the object owns the child's copy of the descriptor.
class KIN_EXPORT UniqueFd {
 public:
  UniqueFd() noexcept = default;
  /// Takes ownership of `fd`; a negative number means none.
  explicit UniqueFd(int fd) noexcept : fd_(fd < 0 ? none : fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ != none; }
  /// Gives up ownership without closing.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, none); }
  /// Closes what it owned and owns `fd` instead.
  void reset(int fd = none) noexcept;

 private:
  static constexpr int none = -1;
  int fd_ = none;
};

}  // namespace kin
