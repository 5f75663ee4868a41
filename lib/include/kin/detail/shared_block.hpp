// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>
#include <kin/lock.hpp>
#include <kin/serialize.hpp>

#include <boost/serialization/access.hpp>

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace kin::detail {

/// What Value, Array and their raw forms say of a type that they can't hold.
template <typename T>
consteval bool require_plain() {
  static_assert(Plain<T>,
                "kin: values and arrays in shared memory hold plain types: numbers, enums, and "
                "structs and arrays of these; what has memory of its own goes into a "
                "kin::SharedObject, with kin::SharedString and its like as members");
  static_assert(alignof(T) <= 64, "kin: shared memory is aligned to 64 bytes, and not to more");
  return true;
}

/// Zeroed bytes in shared memory, aligned to 64, and the handle that keeps them. What they mean say its
/// users.
///
/// Lifetime: the bytes live as long as any process holds a handle. A moved-from block has none.
/// Throws: std::bad_alloc from the constructor; std::logic_error when it was moved from.
class KIN_EXPORT SharedBlock {
 public:
  explicit SharedBlock(std::size_t size);
  SharedBlock(const SharedBlock&) = default;
  SharedBlock& operator=(const SharedBlock&) = default;
  SharedBlock(SharedBlock&& other) noexcept
      : handle_(std::move(other.handle_)),
        bytes_(std::exchange(other.bytes_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  SharedBlock& operator=(SharedBlock&& other) noexcept {
    handle_ = std::move(other.handle_);
    bytes_ = std::exchange(other.bytes_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~SharedBlock() = default;

  [[nodiscard]] std::byte* bytes() const {
    if (bytes_ == nullptr) complain_moved_from();
    return bytes_;
  }
  [[nodiscard]] std::size_t size() const {
    if (bytes_ == nullptr) complain_moved_from();
    return size_;
  }

  friend bool operator==(const SharedBlock& left, const SharedBlock& right) noexcept {
    return left.bytes_ == right.bytes_;
  }

  void travel(OutArchive& archive) const { archive.add_handle(handle_); }
  void travel(InArchive& archive);
  /// Throws SerializationError when what has come is not of the size that its type has.
  void require_size(std::size_t size) const;

 private:
  [[noreturn]] static void complain_moved_from();

  Handle handle_;
  // Of the object, which stays where it is: kept here so that a load is a load.
  std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
};

/// The lock of a Value or an Array: one of its own, which is recursive, or the one that was passed.
class ChosenLock {
 public:
  ChosenLock() : lock_(RLock()) {}
  explicit ChosenLock(RLock lock) : lock_(std::move(lock)) {}
  explicit ChosenLock(Lock lock) : is_recursive_(false), lock_(std::move(lock)) {}

  [[nodiscard]] const LockHandle& get() const noexcept { return lock_; }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    const bool was_recursive = is_recursive_;
    archive& is_recursive_;
    if (was_recursive && !is_recursive_) lock_ = Lock();
    boost::serialization::access::serialize(archive, lock_, 0U);
  }

  bool is_recursive_ = true;
  LockHandle lock_;
};

// ---- arithmetic

template <typename T>
concept Number = std::floating_point<T> || (std::integral<T> && !std::same_as<T, bool>);

// As atomics do it: integers wrap around.
template <Number T>
constexpr T sum(T left, T right) noexcept {
  if constexpr (std::integral<T>) {
    using Unsigned = std::make_unsigned_t<T>;
    return static_cast<T>(
        static_cast<Unsigned>(static_cast<Unsigned>(left) + static_cast<Unsigned>(right)));
  } else {
    return left + right;
  }
}
template <Number T>
constexpr T difference(T left, T right) noexcept {
  if constexpr (std::integral<T>) {
    using Unsigned = std::make_unsigned_t<T>;
    return static_cast<T>(
        static_cast<Unsigned>(static_cast<Unsigned>(left) - static_cast<Unsigned>(right)));
  } else {
    return left - right;
  }
}

// ---- how a value lies in shared memory

template <std::size_t size>
struct WordOfSize;
// clang-format off
template <> struct WordOfSize<1> { using Type = std::uint8_t; };
template <> struct WordOfSize<2> { using Type = std::uint16_t; };
template <> struct WordOfSize<4> { using Type = std::uint32_t; };
template <> struct WordOfSize<8> { using Type = std::uint64_t; };
// clang-format on

/// Is read and written by one instruction, and so never half changed.
template <typename T>
concept FitsWord = sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8;

/// The T at an address of shared memory as one atomic word.
/// Aligned as the word, which its block sees to.
template <FitsWord T>
struct WordAt {
  using Word = typename WordOfSize<sizeof(T)>::Type;
  static_assert(std::atomic_ref<Word>::is_always_lock_free);

  static T load(std::byte* place) { return std::bit_cast<T>(reference(place).load()); }
  static void store(std::byte* place, const T& value) {
    reference(place).store(std::bit_cast<Word>(value));
  }
  /// What it is, for a comparison.
  static std::uint64_t edition(std::byte* place) { return reference(place).load(); }

 private:
  static std::atomic_ref<Word> reference(std::byte* place) {
    return std::atomic_ref(*reinterpret_cast<Word*>(place));
  }
};

/// A value of any size that is never half changed, whoever is killed: two copies, and a word that says
/// which of them counts.
///
/// A writer fills the other copy and then makes it the one that counts, by one store. A reader copies
/// without a lock, and looks afterwards whether it was still the same one.
/// Writers: one at a time, with the lock of the value held. Readers: anyone.
class KIN_EXPORT TwoCopies {
 public:
  TwoCopies(std::byte* place, std::size_t size) noexcept
      : version_(reinterpret_cast<std::atomic<std::uint64_t>*>(place)),
        copies_(place + front),
        size_(size) {}

  static constexpr std::size_t bytes_for(std::size_t size) noexcept {
    return front + 2 * copy_size(size);
  }

  /// False if it was changed meanwhile, again and again: then it is to be read with the lock held.
  [[nodiscard]] bool try_load(void* to) const;
  void store(const void* from) const;
  /// How often it was changed.
  [[nodiscard]] std::uint64_t edition() const noexcept { return version_->load(); }

 private:
  static constexpr std::size_t front = 64;
  static constexpr std::size_t copy_size(std::size_t size) noexcept { return (size + 63) & ~63UL; }

  std::byte* copy_of(std::uint64_t version) const noexcept {
    return copies_ + (version % 2) * copy_size(size_);
  }

  std::atomic<std::uint64_t>* version_;
  std::byte* copies_;
  std::size_t size_;
};

}  // namespace kin::detail
