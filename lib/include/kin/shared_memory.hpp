// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/serialize.hpp>

#include <boost/serialization/access.hpp>
#include <boost/serialization/split_member.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kin {

namespace detail {
class NamedBlock;
}  // namespace detail

class ShareableList;

/// A block of memory with a name, that programs share which know nothing else of each other.
///
///     auto here = kin::SharedMemory::create("samples", 4096);
///     auto there = kin::SharedMemory::open("samples");  // in any process of this user, also in Python
///     there.as<int>()[0] = 42;
///     int answer = here.as<int>()[0];  // 42
///     here.unlink();
///
/// It is the file /dev/shm/NAME, as with shm_open(). Processes of one family, that need no name, have
/// kin::Value, kin::Array and what a kin::SharedObject holds, with locks. Here is none.
///
/// Lifetime: the name, and the memory behind it, are there until somebody calls unlink(), or until all
/// processes of the family whose member created it are gone, however they went. Who has the block open
/// keeps its memory. Copies of a handle are one; with the last of them the process unmaps the block. A
/// default-made handle names nothing.
/// Sharing: thread-safe, but for close() while another thread is at the bytes. May be sent in a message: as
/// its name, so it has to be there when the message is received.
/// After fork: the child has the block, and closes it for itself. It does not take away the name when it ends.
/// If a process dies: killed at any instruction of create(), it leaves no block that is not whole; and
/// whatever it left is removed when the last of its family is gone, with a warning in the log. A process that
/// only opened a block never takes it away.
/// Throws: SystemError with EEXIST (create), ENOENT (open, unlink), ENOSPC (create); std::invalid_argument
/// for a size below 1, and for a name that is empty, longer than 255, or has a '/' (but for one in front) or
/// a zero in it; std::logic_error after close(), and on a handle that names nothing.
/// Python: multiprocessing.shared_memory.SharedMemory.
class KIN_EXPORT SharedMemory {
 public:
  SharedMemory() = default;
  /// Makes a block of zeroes, all of it there. Without a name it gets one: "psm_" and 8 digits.
  static SharedMemory create(std::ptrdiff_t size);
  static SharedMemory create(std::string_view name, std::ptrdiff_t size);
  /// As large as it is.
  static SharedMemory open(std::string_view name);

  /// Without the '/' that may lead it.
  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::span<std::byte> bytes() const;
  /// The bytes as so many T as fit.
  template <Plain T>
  [[nodiscard]] std::span<T> as() const {
    const std::span<std::byte> all = bytes();
    return {reinterpret_cast<T*>(all.data()), all.size() / sizeof(T)};
  }

  /// Unmaps it in this process, for all copies of this handle. A second one does nothing.
  void close() const;
  /// Takes away the name; who has the block open keeps it. Also after close().
  void unlink() const;

  /// Whether they are copies of one handle, or name the same block.
  friend bool operator==(const SharedMemory& left, const SharedMemory& right) noexcept {
    return left.is_same_as(right);
  }

 private:
  [[nodiscard]] bool is_same_as(const SharedMemory& other) const noexcept;
  /// What travels: the name, and of which file it has to be.
  struct Address {
    std::string name;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
  };

  friend class ShareableList;
  friend class SharedMemoryManager;
  explicit SharedMemory(std::shared_ptr<detail::NamedBlock> block) noexcept;
  [[nodiscard]] detail::NamedBlock& block() const;
  [[nodiscard]] Address address() const;
  void attach(const Address& address);

  friend class boost::serialization::access;
  template <typename Archive>
  void save(Archive& archive, unsigned /*version*/) const {
    const Address here = address();
    archive& here.name& here.device& here.inode;
  }
  template <typename Archive>
  void load(Archive& archive, unsigned /*version*/) {
    Address there;  // NOLINT(misc-const-correctness): it is read from the archive
    archive& there.name& there.device& there.inode;
    attach(there);
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()

  std::shared_ptr<detail::NamedBlock> block_;
};

}  // namespace kin
