// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "shared/tracker.hpp"

#include <kin/unique_fd.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kin::detail {

/// A file in /dev/shm, mapped by this process.
///
/// Lifetime: the destructor unmaps it; the file stays until it is unlinked, by anyone.
/// After fork: the child has the same mapping, and closes it for itself.
class NamedBlock {
 public:
  /// What is in it before it has a name.
  using Fill = FunctionRef<void(std::span<std::byte>)>;

  /// Throws SystemError, with EEXIST where there is such a name.
  static std::shared_ptr<NamedBlock> create(std::string_view name, std::ptrdiff_t size, Fill fill);
  /// Asks for names until one is free.
  static std::shared_ptr<NamedBlock> create_unnamed(std::ptrdiff_t size,
                                                    FunctionRef<std::string()> next_name,
                                                    Fill fill);
  /// Throws SystemError, with ENOENT where there is no such name.
  static std::shared_ptr<NamedBlock> open(std::string_view name);

  /// Maps what is open.
  NamedBlock(std::string name, const UniqueFd& fd);
  NamedBlock(const NamedBlock&) = delete;
  NamedBlock& operator=(const NamedBlock&) = delete;
  ~NamedBlock() { close(); }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] FileId file() const noexcept { return file_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Throws std::logic_error when it was closed.
  [[nodiscard]] std::span<std::byte> bytes() const;

  void close() noexcept;
  void unlink() const { unlink(name_, file_); }
  /// Throws SystemError, with ENOENT where the name is gone, or another block's by now.
  static void unlink(const std::string& name, FileId file);

 private:
  bool take_name(std::string name, const UniqueFd& fd);

  std::string name_;
  FileId file_;
  std::size_t size_ = 0;
  std::atomic<std::byte*> begin_ = nullptr;  // null: closed
};

/// "psm_" and eight hexadecimal digits, as Python has it.
std::string random_name();

}  // namespace kin::detail
