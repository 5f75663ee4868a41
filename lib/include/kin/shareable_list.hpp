// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/serialize.hpp>
#include <kin/shared_memory.hpp>

#include <boost/serialization/access.hpp>
#include <boost/serialization/split_member.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kin {

/// A list of numbers and texts in a SharedMemory, as Python has it: each can read what the other made.
///
///     kin::ShareableList list({1, 2.5, true, "text", std::monostate()}, "settings");
///     auto same = kin::ShareableList::open("settings");
///     same.set(0, "one");                          // another type, too
///     std::string one = list.get<std::string>(0);  // one
///     list.shm().unlink();
///
/// Its length stays. A text or a row of bytes may become as long as its place: 8 bytes for what was made as a
/// number, and for a text the next multiple of 8 above its length. Zeroes at its end are dropped.
///
/// Lifetime: as that of its SharedMemory. Copies of a handle are one list; a default-made handle names none.
/// Sharing: the handle is thread-safe and may be sent in a message, as the name of its block. The items have no
/// lock: who sets one while another reads it, or sets it, sees to it that they take turns.
/// After fork: the child has the same list.
/// If a process dies: its list is seen whole or not at all. Killed in set(), it leaves an item that is
/// the old one, the new one, or damaged; the others are as they were.
/// Throws: what SharedMemory throws; std::out_of_range; std::length_error for a text that is too long for its
/// place, or longer than 9999991 bytes; std::bad_variant_access from get<T>(); SerializationError where a block
/// or an item is not what a list or an item looks like.
/// Python: multiprocessing.shared_memory.ShareableList.
class KIN_EXPORT ShareableList {
 public:
  using Bytes = std::vector<std::byte>;
  /// std::monostate() is Python's None.
  using Item = std::variant<std::monostate, bool, std::int64_t, double, std::string, Bytes>;

  class Iterator;

  ShareableList() = default;
  /// Without a name the block gets one.
  ShareableList(std::initializer_list<Item> items, std::string_view name = {});
  explicit ShareableList(const std::vector<Item>& items, std::string_view name = {});
  static ShareableList open(std::string_view name);

  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] Item get(std::size_t at) const;
  template <typename T>
  [[nodiscard]] T get(std::size_t at) const {
    return std::get<T>(get(at));
  }
  /// Throws std::length_error, and changes nothing, when a text does not fit into its place.
  void set(std::size_t at, const Item& item) const;

  /// Where the first item is that is equal, and of the same type.
  [[nodiscard]] std::optional<std::size_t> index(const Item& item) const;
  [[nodiscard]] std::size_t count(const Item& item) const;
  [[nodiscard]] Iterator begin() const;
  [[nodiscard]] Iterator end() const;

  /// Another list of the same items, in a block of its own.
  [[nodiscard]] ShareableList copy(std::string_view name = {}) const;
  /// The block that it lies in, to close and to unlink.
  [[nodiscard]] const SharedMemory& shm() const noexcept { return shm_; }

  /// Whether both name the same list.
  friend bool operator==(const ShareableList& left, const ShareableList& right) noexcept {
    return left.shm_ == right.shm_;
  }

 private:
  /// Where the items' places begin, and where the last one ends.
  using Offsets = std::vector<std::size_t>;

  ShareableList(Offsets offsets, std::span<const Item> items, std::string_view name);
  explicit ShareableList(SharedMemory block) { attach(std::move(block)); }
  void attach(SharedMemory block);
  [[nodiscard]] const Offsets& offsets() const;

  friend class boost::serialization::access;
  template <typename Archive>
  void save(Archive& archive, unsigned /*version*/) const {
    archive& shm_;
  }
  template <typename Archive>
  void load(Archive& archive, unsigned /*version*/) {
    SharedMemory block;
    archive& block;
    attach(std::move(block));
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()

  std::shared_ptr<const Offsets> offsets_;
  SharedMemory shm_;
};

/// Reads each item when it comes to it. Outlived by its list's handle.
class ShareableList::Iterator {
 public:
  using value_type = Item;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  Iterator() = default;
  Iterator(const ShareableList& list, std::size_t at) : list_(&list), at_(at) {}
  Item operator*() const { return list_->get(at_); }
  Iterator& operator++() {
    ++at_;
    return *this;
  }
  void operator++(int) { ++at_; }
  friend bool operator==(const Iterator& left, const Iterator& right) = default;

 private:
  const ShareableList* list_ = nullptr;
  std::size_t at_ = 0;
};

inline ShareableList::Iterator ShareableList::begin() const { return {*this, 0}; }
inline ShareableList::Iterator ShareableList::end() const { return {*this, size()}; }

}  // namespace kin
