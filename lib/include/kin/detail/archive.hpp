// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/cargo.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>
#include <kin/detail/save_load.hpp>
#include <kin/error.hpp>
#include <kin/serialize.hpp>

#include <boost/archive/archive_exception.hpp>
#include <boost/archive/detail/common_iarchive.hpp>
#include <boost/archive/detail/common_oarchive.hpp>
#include <boost/archive/detail/register_archive.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

namespace boost::serialization {
class extended_type_info;
}

namespace kin::detail {

/// Containers and pointers inside one another, at most. The stack is finite, and a message may lie.
inline constexpr unsigned deepest_nesting = 1000;

/// A Boost archive that writes a message into memory; handles are collected beside the bytes.
///
///     OutArchive out;
///     encode(out, std::string("hello"));
///     send(out.bytes(), out.cargo());
///     out.clear();
///
/// The bases stand here for the sake of BOOST_CLASS_EXPORT and of archives' protocol (`&`,
/// `is_saving`, get_helper ...); the tables in them stay empty. They trust what they read: a class
/// or object number that was damaged makes one object be taken for another. Hence the object table
/// of our own.
/// Lifetime: reusable after clear(), which keeps the memory. What encode() left behind when it
/// threw is good for clear() only.
class KIN_EXPORT OutArchive : public boost::archive::detail::common_oarchive<OutArchive> {
 public:
  OutArchive();
  ~OutArchive() override;
  OutArchive(const OutArchive&) = delete;
  OutArchive& operator=(const OutArchive&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {buffer_.get(), size_}; }
  /// To fill in what was left room for.
  [[nodiscard]] std::span<std::byte> writable_bytes() noexcept { return {buffer_.get(), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// What goes beside the bytes. The descriptors are those of the values that were written.
  [[nodiscard]] OutgoingCargo cargo() const noexcept { return {handles_, descriptors_}; }
  void add_handle(const Handle& handle) { handles_.push_back(handle); }
  void add_descriptor(int descriptor) { descriptors_.push_back(descriptor); }
  void clear() noexcept;

  void save_binary(const void* from, std::size_t count) {
    if (count == 0) return;
    std::memcpy(append(count), from, count);
  }
  void save_length(std::size_t length) {
    const std::uint64_t word = length;
    save_binary(&word, sizeof word);
  }
  /// Zeroes up to that size.
  void pad_to(std::size_t size);

  /// Writes the object's number in this message. True: it is new, and its contents have to follow.
  bool save_object_id(const void* object, const std::type_info& type);
  void save_null() { save_length(0); }
  /// Contents of an object that is sent through a pointer to its base; `type` may be null.
  void save_derived(const void* object, const boost::serialization::extended_type_info* type);

  void enter();
  void leave() noexcept { --depth_; }

 private:
  friend boost::archive::detail::interface_oarchive<OutArchive>;

  struct ObjectKey {
    const void* address;
    std::type_index type;
    bool operator==(const ObjectKey&) const = default;
  };
  struct HashObject {
    std::size_t operator()(const ObjectKey& key) const noexcept;
  };
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  template <typename T>
  void save_override(const T& value);

  std::byte* append(std::size_t count) {
    if (capacity_ - size_ < count) grow(count);
    std::byte* place = buffer_.get() + size_;
    size_ += count;
    return place;
  }
  void grow(std::size_t count);

  std::unique_ptr<std::byte, Free> buffer_;  // by realloc: grows without filling, often in place
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  unsigned depth_ = 0;
  std::vector<Handle> handles_;
  std::vector<int> descriptors_;
  std::unordered_map<ObjectKey, std::uint64_t, HashObject> objects_;
};

/// A Boost archive that reads one message. Nothing in the message is believed: whatever it holds,
/// reading it gives a value or a SerializationError.
///
/// Exempt are, as the archive can't know what would be right: values of an enum or of a class that
/// was declared plain, addresses of functions of this program's, and pointers that a user's serialize() owns.
/// Lifetime: looks into the bytes it was made from and takes from the cargo; they outlive it.
class KIN_EXPORT InArchive : public boost::archive::detail::common_iarchive<InArchive> {
 public:
  explicit InArchive(std::span<const std::byte> bytes);
  InArchive(std::span<const std::byte> bytes, IncomingCargo& cargo);
  ~InArchive() override;
  InArchive(const InArchive&) = delete;
  InArchive& operator=(const InArchive&) = delete;

  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] Handle next_handle();
  [[nodiscard]] UniqueFd next_descriptor();
  /// Throws if there is more in the message than was read.
  void finish() const;
  /// The message comes from another program: an address of code in it would be called, whatever it is.
  void distrust() noexcept { is_from_stranger_ = true; }
  /// For who reads one.
  void require_trust() const {
    if (is_from_stranger_) complain("it holds an address of code, and comes from another program");
  }

  /// The next bytes of the message, where they are.
  const std::byte* take(std::size_t count) {
    if (remaining() < count) complain_short();
    const std::byte* place = bytes_.data() + position_;
    position_ += count;
    return place;
  }
  void load_binary(void* to, std::size_t count) {
    if (count == 0) return;
    std::memcpy(to, take(count), count);
  }
  /// A number of elements that take so many bytes each at least: never more than can follow.
  std::size_t load_length(std::size_t bytes_each) {
    std::uint64_t length = 0;
    load_binary(&length, sizeof length);
    if (length > remaining() / bytes_each) complain_short();
    return length;
  }
  /// The same, of elements of a size that nobody knows. Whoever asks makes room for all of them.
  std::size_t load_unknown_length();
  /// Whether there may be room for them before they are there. Containers in one another can each
  /// claim all that follows; so in a whole message it is a small multiple of its bytes.
  [[nodiscard]] bool may_make_room(std::size_t elements, std::size_t bytes_each) noexcept {
    if (elements > room_ahead_ / bytes_each) return false;
    room_ahead_ -= elements * bytes_each;
    return true;
  }
  void skip_to(std::size_t position);

  /// An object's number in this message. 0 is null.
  std::uint64_t load_object_id();
  [[nodiscard]] bool is_new(std::uint64_t id) const noexcept { return id > objects_.size(); }
  /// Notes that the object exists from now on. `type` is null unless its class is polymorphic.
  void note_object(std::uint64_t id, void* object, const std::type_info& exact,
                   const boost::serialization::extended_type_info* type);
  /// Makes and fills an object of the class with that name, which has to be derived from `base`.
  void load_derived(std::uint64_t id, const char* name,
                    const boost::serialization::extended_type_info& base);
  /// Reserves a place for the object with the next id.
  void expect_object() { objects_.emplace_back(); }
  void complete_object(std::uint64_t id) { objects_[id - 1].complete = true; }
  [[nodiscard]] bool is_complete(std::uint64_t id) const noexcept {
    return objects_[id - 1].complete;
  }
  /// It exists no longer.
  void forget_object(std::uint64_t id) noexcept { objects_[id - 1].address = nullptr; }

  /// The object's address as that class. Throws unless it is one.
  void* object_as(std::uint64_t id, const std::type_info& exact,
                  const boost::serialization::extended_type_info* type) const;
  /// Who owns it; null: nobody yet. The first who does puts itself here.
  std::shared_ptr<void>& owner_of(std::uint64_t id);
  /// From now on a unique_ptr owns it. Throws if it has an owner.
  void make_unique_owner(std::uint64_t id);

  /// Boost wraps the object itself so (and nothing else) once it is constructed.
  void note_constructed(void* object) noexcept;

  void enter();
  void leave() noexcept { --depth_; }

  [[noreturn]] static void complain(std::string_view what);
  [[noreturn]] static void complain_short();

 private:
  friend boost::archive::detail::interface_iarchive<InArchive>;

  struct Object {
    void* address = nullptr;  // as the most derived class; null until it is constructed
    const std::type_info* exact = nullptr;
    const boost::serialization::extended_type_info* type = nullptr;
    std::shared_ptr<void> owner;
    bool complete = false;
    bool unique = false;
  };
  /// A polymorphic object between its allocation and the end of its construction.
  struct Pending;

  template <typename T>
  void load_override(T& value);

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::size_t room_ahead_;        // that containers may still make
  std::size_t unknown_elements_;  // that may still come
  IncomingCargo* cargo_ = nullptr;
  std::size_t next_handle_ = 0;
  std::size_t next_descriptor_ = 0;
  unsigned depth_ = 0;
  bool is_from_stranger_ = false;
  Pending* pending_ = nullptr;
  std::vector<Object> objects_;
};

/// One container or pointer around what is written or read meanwhile.
template <typename Archive>
class Nesting {
 public:
  explicit Nesting(Archive& archive) : archive_(archive) { archive_.enter(); }
  ~Nesting() { archive_.leave(); }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  Archive& archive_;
};

/// Throws the SerializationError that an exception of Boost's means.
[[noreturn]] KIN_EXPORT void rethrow(const boost::archive::archive_exception& problem);

}  // namespace kin::detail

#include <kin/detail/codec.hpp>

namespace kin::detail {

template <typename T>
void OutArchive::save_override(const T& value) {
  detail::save(*this, value);
}

template <typename T>
void InArchive::load_override(T& value) {
  detail::load(*this, value);
}

/// Appends the value to the message.
/// Throws SerializationError, or what a serialize() of the user's throws.
template <Sendable T>
void encode(OutArchive& out, const T& value) {
  try {
    detail::save(out, value);
  } catch (const boost::archive::archive_exception& problem) {
    rethrow(problem);
  }
}

/// Reads the next value of a message.
template <Sendable T>
[[nodiscard]] T decode_next(InArchive& in) {
  try {
    T value;
    detail::load(in, value);
    return value;  // NOLINT(clang-analyzer-core.uninitialized.UndefReturn): load() wrote it
  } catch (const boost::archive::archive_exception& problem) {
    rethrow(problem);
  }
}

/// Reads a message that is one value.
template <Sendable T>
[[nodiscard]] T decode(InArchive& in) {
  T value = decode_next<T>(in);
  in.finish();
  return value;
}

}  // namespace kin::detail

BOOST_SERIALIZATION_REGISTER_ARCHIVE(kin::detail::OutArchive)
BOOST_SERIALIZATION_REGISTER_ARCHIVE(kin::detail::InArchive)
