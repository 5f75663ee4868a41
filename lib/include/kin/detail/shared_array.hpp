// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/detail/shared_block.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin::detail {

[[noreturn]] KIN_EXPORT void complain_out_of_range(std::size_t index, std::size_t size);
/// Throws std::length_error unless so many elements have room.
KIN_EXPORT void require_room(std::size_t count, std::size_t room);
/// Bytes of so many elements. Throws std::length_error when there can't be so many.
KIN_EXPORT std::size_t bytes_of(std::size_t count, std::size_t size_of_each);

template <typename R>
concept IsText = std::convertible_to<R, std::string_view>;

template <typename R, typename T>
concept RangeOf =
    std::ranges::input_range<R> && std::convertible_to<std::ranges::range_reference_t<R>, T>;

/// What is in a range, contiguous: a view of it where it is that already, else a copy. A string literal is
/// its text, without the zero behind it.
template <typename T, typename R>
  requires RangeOf<R, T>
auto values_of(R&& range) {
  using Value = std::remove_cvref_t<std::ranges::range_value_t<R>>;
  if constexpr (std::same_as<T, char> && IsText<R>) {
    return std::string_view(range);
  } else if constexpr (std::same_as<Value, T> && std::ranges::contiguous_range<R> &&
                       std::ranges::sized_range<R>) {
    return std::span<const T>(std::ranges::data(range), std::ranges::size(range));
  } else {
    // A bool of a std::vector<bool> has no address: hence the elements.
    struct Element {
      T value;
      operator const T&() const { return value; }  // NOLINT: reads as a T
    };
    std::vector<Element> values;
    for (auto&& one : range) values.push_back({static_cast<T>(std::forward<decltype(one)>(one))});
    return values;
  }
}

/// A store that is never half done, for what fits into a word; of an element of a block, which is aligned as
/// its word is.
template <typename T>
void store_whole(T& place, const T& value) {
  if constexpr (FitsWord<T>) {
    using Word = typename WordOfSize<sizeof(T)>::Type;
    // Relaxed: the lock of the array orders it.
    std::atomic_ref(reinterpret_cast<Word&>(place))
        .store(std::bit_cast<Word>(value), std::memory_order_relaxed);
  } else {
    place = value;
  }
}

/// A block that is elements of one type.
template <typename T>
class SharedArray {
 public:
  explicit SharedArray(std::size_t size) : block_(bytes_of(size, sizeof(T))) {}
  template <typename R>
  static SharedArray of(R&& range) {
    const auto values = values_of<T>(std::forward<R>(range));
    SharedArray result(std::ranges::size(values));
    std::ranges::copy(values, result.span().begin());
    return result;
  }

  [[nodiscard]] std::size_t size() const { return block_.size() / sizeof(T); }
  [[nodiscard]] std::span<T> span() const { return {reinterpret_cast<T*>(block_.bytes()), size()}; }
  [[nodiscard]] T& at(std::size_t index) const {
    if (index >= size()) complain_out_of_range(index, size());
    return span()[index];
  }
  [[nodiscard]] std::span<T> part(std::size_t first, std::size_t count) const {
    if (first > size()) complain_out_of_range(first, size());
    if (count > size() - first) complain_out_of_range(first + count - 1, size());
    return span().subspan(first, count);
  }

  template <typename Archive>
  void travel(Archive& archive) {
    block_.travel(archive);
    if (block_.size() % sizeof(T) != 0) block_.require_size(0);
  }

  friend bool operator==(const SharedArray& left, const SharedArray& right) noexcept {
    return left.block_ == right.block_;
  }

 private:
  SharedBlock block_;
};

}  // namespace kin::detail
