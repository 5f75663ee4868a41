// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/shared_array.hpp>
#include <kin/lock.hpp>

#include <boost/serialization/access.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin {

/// A row of plain elements in shared memory, with their lock. Its size is given once.
///
///     kin::Array<int> numbers{1, 2, 3};
///     kin::Process child([numbers] { numbers[0] += 10; });
///     child.start();
///     child.join();
///     for (int number : numbers) std::cout << number << '\n';  // 11 2 3
///
/// Every operation waits for the lock, but for size(), span() and get_lock(). `a[i]` stands for an element:
/// it reads as a T and assigns, adds and so on in one step. What takes several steps is with(), or
/// get_lock() and span().
///
/// The lock is an RLock of its own, or the Lock or RLock that the constructor was given: one lock may
/// guard several arrays. With a plain Lock, nothing but span() may be used while it is held.
///
/// Lifetime: lives as long as any process holds a handle; a span as long as this one does. Copies of a
/// handle name the same array.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// After fork: the child's copy names the same array.
/// If a process dies: an element of 1, 2, 4 or 8 bytes that it was storing is the old one or the new one.
/// A larger one, and what it does with several, may be half done: who takes the lock next with
/// get_lock() is told by owner_died().
/// Throws: std::out_of_range; std::bad_alloc and std::length_error from constructors; DeadlockError where
/// a plain Lock is held already; std::logic_error on a moved-from handle.
/// Python: multiprocessing.Array.
template <typename T>
class Array {
  static_assert(detail::require_plain<T>());
  using Elements = detail::SharedArray<T>;
  template <typename R>
  static constexpr bool fits =
      detail::RangeOf<R, T> && !std::same_as<std::remove_cvref_t<R>, Array>;

 public:
  using value_type = T;
  using size_type = std::size_t;
  class Element;
  class Iterator;

  /// Without elements; for what is received in a message.
  Array() : Array(std::size_t{0}) {}
  /// All zero, also where the memory was another's before.
  explicit Array(std::size_t size) : elements_(size) {}
  Array(std::size_t size, const Lock& lock) : elements_(size), lock_(lock) {}
  Array(std::size_t size, const RLock& lock) : elements_(size), lock_(lock) {}
  Array(std::initializer_list<T> values) : elements_(Elements::of(values)) {}
  Array(std::initializer_list<T> values, const Lock& lock)
      : elements_(Elements::of(values)), lock_(lock) {}
  Array(std::initializer_list<T> values, const RLock& lock)
      : elements_(Elements::of(values)), lock_(lock) {}
  /// The elements of any range. An Array<char> of a string literal is as long as the text.
  template <typename R>
    requires fits<R>
  explicit Array(R&& range) : elements_(Elements::of(std::forward<R>(range))) {}
  template <typename R>
    requires fits<R>
  Array(R&& range, const Lock& lock)
      : elements_(Elements::of(std::forward<R>(range))), lock_(lock) {}
  template <typename R>
    requires fits<R>
  Array(R&& range, const RLock& lock)
      : elements_(Elements::of(std::forward<R>(range))), lock_(lock) {}

  [[nodiscard]] std::size_t size() const { return elements_.size(); }
  [[nodiscard]] bool empty() const { return size() == 0; }

  [[nodiscard]] T load(std::size_t index) const {
    const std::scoped_lock guard(get_lock());
    return elements_.at(index);
  }
  void store(std::size_t index, const T& value) const {
    const std::scoped_lock guard(get_lock());
    detail::store_whole(elements_.at(index), value);
  }
  /// Refers to the array's handle, so it must not outlive that.
  [[nodiscard]] Element operator[](std::size_t index) const {
    static_cast<void>(elements_.at(index));
    return Element(*this, index);
  }

  /// All elements, as they are at one moment.
  [[nodiscard]] std::vector<T> copy() const { return copy(0, size()); }
  /// `count` elements from `first` on.
  [[nodiscard]] std::vector<T> copy(std::size_t first, std::size_t count) const {
    const std::span<T> part = elements_.part(first, count);
    std::vector<T> result(count);
    const std::scoped_lock guard(get_lock());
    std::copy(part.begin(), part.end(), result.begin());
    return result;
  }
  /// Elements from `first` on become those of the range.
  template <typename R>
    requires detail::RangeOf<R, T>
  void assign(std::size_t first, R&& range) const {
    // The range may run code of the caller's: not with the lock held.
    const auto values = detail::values_of<T>(std::forward<R>(range));
    const std::span<T> part = elements_.part(first, std::ranges::size(values));
    const std::scoped_lock guard(get_lock());
    std::ranges::copy(values, part.begin());
  }
  void assign(std::size_t first, std::initializer_list<T> values) const {
    assign(first, std::span(values.begin(), values.size()));
  }
  void fill(const T& value) const {
    const std::scoped_lock guard(get_lock());
    std::ranges::fill(span(), value);
  }

  /// What stands before the first zero character, or all.
  [[nodiscard]] std::string text() const
    requires std::same_as<T, char>
  {
    const std::vector<char> all = copy();
    return {all.begin(), std::ranges::find(all, '\0')};
  }
  /// Zeroes what is behind the text. Throws std::length_error if it is longer than the array; nothing was
  /// changed then.
  void set_text(std::string_view text) const
    requires std::same_as<T, char>
  {
    detail::require_room(text.size(), size());
    const std::scoped_lock guard(get_lock());
    const auto end = std::ranges::copy(text, span().begin()).out;
    std::ranges::fill(end, span().end(), '\0');
  }

  /// Calls `f(std::span<T>)` with the lock held, and returns what it returned, by value. It changes the
  /// elements themselves: what it did before it threw, or was killed, is done.
  template <std::invocable<std::span<T>> F>
  auto with(F&& f) const -> std::remove_cvref_t<std::invoke_result_t<F, std::span<T>>> {
    const std::scoped_lock guard(get_lock());
    return std::invoke(std::forward<F>(f), span());
  }
  /// The elements themselves. The caller sees to it that nobody else uses them: by get_lock(), mostly.
  [[nodiscard]] std::span<T> span() const { return elements_.span(); }

  /// Over the elements as they are when the loop begins.
  [[nodiscard]] Iterator begin() const { return Iterator(copy()); }
  [[nodiscard]] std::default_sentinel_t end() const { return std::default_sentinel; }

  /// It has the operations of a kin::Lock, and stays the lock of all copies.
  [[nodiscard]] const detail::LockHandle& get_lock() const noexcept { return lock_.get(); }

  /// Whether both name the same array.
  friend bool operator==(const Array& left, const Array& right) noexcept {
    return left.elements_ == right.elements_;
  }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    elements_.travel(archive);
    archive& lock_;
  }

  Elements elements_;
  detail::ChosenLock lock_;
};

template <typename R>
Array(R&&) -> Array<std::remove_cvref_t<std::ranges::range_value_t<R>>>;

/// An element of an array; each operation is one step, with the array's lock held.
template <typename T>
class Array<T>::Element {
 public:
  operator T() const { return array_.load(index_); }  // NOLINT: reads as a T
  const Element& operator=(const T& value) const {    // NOLINT: refers to what it assigns
    array_.store(index_, value);
    return *this;
  }
  Element& operator=(const Element& other) {
    array_.store(index_, other);
    return *this;
  }
  Element(const Element&) = default;
  ~Element() = default;

  /// Each returns what the element is afterwards.
  T operator+=(T amount) const
    requires detail::Number<T>
  {
    return change([&](T old) { return detail::sum(old, amount); });
  }
  T operator-=(T amount) const
    requires detail::Number<T>
  {
    return change([&](T old) { return detail::difference(old, amount); });
  }
  T operator++() const
    requires detail::Number<T>
  {
    return *this += T(1);
  }
  T operator--() const
    requires detail::Number<T>
  {
    return *this -= T(1);
  }

 private:
  friend class Array;
  Element(const Array& array, std::size_t index) : array_(array), index_(index) {}

  template <typename F>
  T change(F&& next) const {
    const std::scoped_lock guard(array_.get_lock());
    const T value = next(array_.load(index_));
    array_.store(index_, value);
    return value;
  }

  const Array& array_;
  std::size_t index_;
};

/// An input iterator over a copy.
template <typename T>
class Array<T>::Iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  [[nodiscard]] T operator*() const { return (*values_)[at_]; }
  Iterator& operator++() {
    ++at_;
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
    return iterator.at_ == iterator.values_->size();
  }

 private:
  friend class Array;
  explicit Iterator(std::vector<T> values)
      : values_(std::make_shared<const std::vector<T>>(std::move(values))) {}

  std::shared_ptr<const std::vector<T>> values_;
  std::size_t at_ = 0;
};

/// A row of plain elements in shared memory, and nothing else: a std::span<T> that all kin have.
///
///     kin::RawArray<double> row(1000);
///     row[7] = 0.5;
///     std::sort(row.begin(), row.end());
///
/// Who shares it says how: each process has a part of it, or by atomic(), or by a lock.
///
/// Lifetime: lives as long as any process holds a handle; references to elements are good as long as this
/// one does. Copies of a handle name the same array.
/// Sharing: the handle as an Array; the elements are the caller's to guard.
/// If a process dies: what it was writing may be half written.
/// Throws: std::out_of_range from at() and atomic(); std::bad_alloc and std::length_error from
/// constructors; std::logic_error on a moved-from handle.
/// Python: multiprocessing.RawArray; Array(..., lock=False).
template <typename T>
class RawArray {
  static_assert(detail::require_plain<T>());
  using Elements = detail::SharedArray<T>;

 public:
  using value_type = T;
  using size_type = std::size_t;

  RawArray() : RawArray(std::size_t{0}) {}
  /// All zero, also where the memory was another's before.
  explicit RawArray(std::size_t size) : elements_(size) {}
  RawArray(std::initializer_list<T> values) : elements_(Elements::of(values)) {}
  template <typename R>
    requires(detail::RangeOf<R, T> && !std::same_as<std::remove_cvref_t<R>, RawArray>)
  explicit RawArray(R&& range) : elements_(Elements::of(std::forward<R>(range))) {}

  [[nodiscard]] std::size_t size() const { return elements_.size(); }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::span<T> span() const { return elements_.span(); }
  [[nodiscard]] T* data() const { return span().data(); }
  [[nodiscard]] auto begin() const { return span().begin(); }
  [[nodiscard]] auto end() const { return span().end(); }
  /// Not checked.
  [[nodiscard]] T& operator[](std::size_t index) const { return span()[index]; }
  [[nodiscard]] T& at(std::size_t index) const { return elements_.at(index); }
  /// The bare atomic of an element, for types that have one without a lock.
  [[nodiscard]] std::atomic_ref<T> atomic(std::size_t index) const
    requires std::atomic_ref<T>::is_always_lock_free
  {
    return std::atomic_ref<T>(at(index));
  }

  /// Whether both name the same array.
  friend bool operator==(const RawArray& left, const RawArray& right) noexcept {
    return left.elements_ == right.elements_;
  }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    elements_.travel(archive);
  }

  Elements elements_;
};

template <typename R>
RawArray(R&&) -> RawArray<std::remove_cvref_t<std::ranges::range_value_t<R>>>;

}  // namespace kin
