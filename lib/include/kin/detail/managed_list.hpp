// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/list_store.hpp>
#include <kin/detail/managed_contents.hpp>
#include <kin/detail/managed_element.hpp>
#include <kin/proxy.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <ostream>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin::detail {

struct ModifyItem {
  template <typename F, typename T, typename... As>
  auto operator()(F& function, ListStore<T>& all, std::ptrdiff_t index, As&&... arguments) const {
    return std::invoke(function, all.at(index), std::forward<As>(arguments)...);
  }
};
struct SortList {
  template <typename F, typename T>
  void operator()(F& compare, ListStore<T>& all) const {
    all.sort(std::ref(compare));
  }
};
struct SortListBy {
  template <typename F, typename T>
  void operator()(F& key, ListStore<T>& all) const {
    all.sort(std::ranges::less{}, std::ref(key));
  }
};

}  // namespace kin::detail

namespace kin::managed {

/// Elements one behind the other, in a manager's server; as many as there were at first.
///
///     auto numbers = manager.array<int>({3, 1, 2});
///     numbers[0] = 5;                                // one call
///     numbers.fetch_add(0, 1);                       // one call, atomic
///     for (int number : numbers) std::cout << number << '\n';  // a copy, of this moment
///
/// Indices below zero count from the end.
/// Throws: as Proxy; std::out_of_range for an element that is not there; std::invalid_argument for a slice that
/// takes more or fewer.
/// Python: manager.Array().
template <typename T>
class Array : public Proxy<detail::ListStore<T>> {
 protected:
  using Store = detail::ListStore<T>;
  using Contents = detail::Contents<std::vector<T>, Array>;

 public:
  using key_type = std::ptrdiff_t;
  using mapped_type = T;
  using value_type = T;
  using Proxy<Store>::apply;

  Array() noexcept = default;
  explicit Array(Proxy<Store> proxy) : Proxy<Store>(std::move(proxy)) {}

  [[nodiscard]] Element<Array> operator[](std::ptrdiff_t index) const { return {*this, index}; }
  [[nodiscard]] T get(std::ptrdiff_t index) const {
    return this->own([](Store& all, std::ptrdiff_t i) { return all.at(i); }, index);
  }
  void set(std::ptrdiff_t index, const T& value) const {
    this->own([](Store& all, std::ptrdiff_t i, T v) { all.at(i) = std::move(v); }, index, value);
  }
  [[nodiscard]] std::size_t size() const {
    return this->own([](Store& all) { return all.items.size(); });
  }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::vector<T> copy() const {
    return this->own([](Store& all) { return all.items; });
  }

  [[nodiscard]] std::vector<T> slice(const Slice& slice) const {
    return this->own([](Store& all, const Slice& s) { return all.slice(s); }, slice);
  }
  /// Those from `first` on, before `last`.
  [[nodiscard]] std::vector<T> slice(std::ptrdiff_t first, std::ptrdiff_t last) const {
    return slice({.first = first, .last = last});
  }
  /// In the place of those. A List's may be fewer or more, if they lie side by side.
  void set_slice(const Slice& slice, Contents values) const {
    assign(slice, std::move(values), false);
  }

  [[nodiscard]] bool contains(const T& value) const { return index(value).has_value(); }
  [[nodiscard]] std::size_t count(const T& value) const {
    return this->own(
        [](Store& all, const T& v) {
          return static_cast<std::size_t>(std::ranges::count(all.items, v));
        },
        value);
  }
  /// Where the first is that is equal, from `first` on, before `last`.
  [[nodiscard]] std::optional<std::size_t> index(const T& value, std::ptrdiff_t first = 0,
                                                 std::ptrdiff_t last = PTRDIFF_MAX) const {
    return this->own(
        [](Store& all, const T& v, std::ptrdiff_t f, std::ptrdiff_t l) {
          const auto end = all.bound(l);
          const auto found = std::find(std::min(all.bound(f), end), end, v);
          return found == end ? std::optional<std::size_t>()
                              : static_cast<std::size_t>(found - all.items.begin());
        },
        value, first, last);
  }

  void reverse() const {
    this->own([](Store& all) { std::ranges::reverse(all.items); });
  }
  /// Equal ones keep their order.
  void sort() const {
    this->own([](Store& all) { all.sort(std::ranges::less{}); });
  }
  /// By what compare(left, right) says, as std::sort. It runs in the server.
  template <typename Compare>
    requires std::predicate<Compare&, const T&, const T&>
  void sort(const Compare& compare) const {
    apply(detail::within<detail::SortList, std::decay_t<const Compare&>>(compare));
  }
  /// By what key(element) gives: the smallest first.
  template <typename Key>
    requires std::invocable<Key&, const T&>
  void sort_by(const Key& key) const {
    apply(detail::within<detail::SortListBy, std::decay_t<const Key&>>(key));
  }

  /// Calls function(T&, arguments...) in the server; gives its result.
  template <typename Function, typename... Arguments>
    requires std::invocable<Function&, T&, detail::ArgumentOf<Arguments>...>
  auto modify(std::ptrdiff_t index, const Function& function, Arguments&&... arguments) const {
    return apply(detail::within<detail::ModifyItem, std::decay_t<const Function&>>(function), index,
                 std::forward<Arguments>(arguments)...);
  }
  /// Adds; the value before.
  T fetch_add(std::ptrdiff_t index, const T& summand) const {
    return this->own(
        [](Store& all, std::ptrdiff_t i, const T& s) {
          T& value = all.at(i);
          T before = value;
          value = static_cast<T>(value + s);
          return before;
        },
        index, summand);
  }
  /// Sets it if it is `expected`; else `expected` becomes what it is.
  bool compare_exchange(std::ptrdiff_t index, T& expected, const T& desired) const {
    auto other = this->own(
        [](Store& all, std::ptrdiff_t i, const T& e, T d) -> std::optional<T> {
          T& value = all.at(i);
          if (!(value == e)) return value;
          value = std::move(d);
          return std::nullopt;
        },
        index, expected, desired);
    if (!other) return true;
    expected = *std::move(other);
    return false;
  }

  /// Through the elements of the moment in which the loop begins.
  using Iterator = detail::SnapshotIterator<std::vector<T>>;
  [[nodiscard]] Iterator begin() const { return Iterator(copy()); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  friend std::ostream& operator<<(std::ostream& out, const Array& list) {
    detail::print_values(out, '[', list.copy(), ']');
    return out;
  }

 protected:
  void assign(const Slice& slice, Contents values, bool may_differ) const {
    this->own([](Store& all, const Slice& s, Contents given,
                 bool may) { all.assign(s, std::move(given).take(), may); },
              slice, std::move(values).for_call(this->object()), may_differ);
  }

 private:
  template <typename, typename>
  friend class detail::Contents;
};

/// A list in a manager's server.
///
///     auto words = manager.list<std::string>({"b", "a"});
///     words.append("c");
///     words.sort();
///     for (const std::string& word : words) std::cout << word << '\n';  // a copy, of this moment
///     std::cout << words << '\n';  // ["a", "b", "c"]
///
/// Each member function is one call; with a list of another manager it is two, of which the first reads
/// that. `+` and `*` give plain vectors. Elements are copies: to change one where it is, modify() it, or keep
/// proxies in the list.
/// Throws: as Array.
/// Python: manager.list().
template <typename T>
class List : public Array<T> {
  using typename Array<T>::Store;
  using typename Array<T>::Contents;

 public:
  using Array<T>::apply;

  List() noexcept = default;
  explicit List(Proxy<Store> proxy) : Array<T>(std::move(proxy)) {}

  void append(const T& value) const {
    this->own([](Store& all, T v) { all.items.push_back(std::move(v)); }, value);
  }
  void extend(Contents values) const {
    this->own([](Store& all, Contents given) { all.extend(std::move(given).take()); },
              std::move(values).for_call(this->object()));
  }
  const List& operator+=(Contents values) const {
    extend(std::move(values));
    return *this;
  }
  const List& operator*=(std::ptrdiff_t times) const {
    this->own([](Store& all, std::ptrdiff_t n) { all.items = all.repeated(n); }, times);
    return *this;
  }
  void insert(std::ptrdiff_t index, const T& value) const {
    this->own(
        [](Store& all, std::ptrdiff_t i, T v) { all.items.insert(all.bound(i), std::move(v)); },
        index, value);
  }
  T pop(std::ptrdiff_t index = -1) const {
    return this->own([](Store& all, std::ptrdiff_t i) { return all.take(i); }, index);
  }
  void erase(std::ptrdiff_t index) const {
    this->own(
        [](Store& all, std::ptrdiff_t i) { all.items.erase(all.items.begin() + all.place(i)); },
        index);
  }
  void erase(const Slice& slice) const {
    this->own([](Store& all, const Slice& s) { all.erase(s); }, slice);
  }
  /// The first that is equal; whether there was one.
  bool remove(const T& value) const {
    return this->own(
        [](Store& all, const T& v) {
          const auto found = std::ranges::find(all.items, v);
          if (found == all.items.end()) return false;
          all.items.erase(found);
          return true;
        },
        value);
  }
  void clear() const {
    this->own([](Store& all) { all.items.clear(); });
  }
  void set_slice(const Slice& slice, Contents values) const {
    this->assign(slice, std::move(values), true);
  }

  [[nodiscard]] friend std::vector<T> operator+(const List& left, Contents right) {
    return left.own(
        [](Store& all, Contents given) {
          Store both(all);
          both.extend(std::move(given).take());
          return both.items;
        },
        std::move(right).for_call(left.object()));
  }
  [[nodiscard]] friend std::vector<T> operator+(std::vector<T> left, const List& right) {
    std::vector<T> more = right.copy();
    left.insert(left.end(), std::move_iterator(more.begin()), std::move_iterator(more.end()));
    return left;
  }
  [[nodiscard]] friend std::vector<T> operator*(const List& list, std::ptrdiff_t times) {
    return list.own([](Store& all, std::ptrdiff_t n) { return all.repeated(n); }, times);
  }
  [[nodiscard]] friend std::vector<T> operator*(std::ptrdiff_t times, const List& list) {
    return list * times;
  }
};

}  // namespace kin::managed
