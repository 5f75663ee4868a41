// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/managed_dict.hpp>
#include <kin/proxy.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <ostream>
#include <ranges>
#include <stdexcept>
#include <utility>
#include <vector>

namespace kin::detail {

/// What a list is in the server. Indices below zero count from the end.
template <typename T>
struct ListStore {
  std::vector<T> items;

  [[nodiscard]] std::size_t place(std::ptrdiff_t index) const {
    const auto size = static_cast<std::ptrdiff_t>(items.size());
    const std::ptrdiff_t at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) throw std::out_of_range("kin: no such element in the list");
    return static_cast<std::size_t>(at);
  }
  [[nodiscard]] T& at(std::ptrdiff_t index) { return items[place(index)]; }
  /// Of a slice: what is beyond an end is none.
  [[nodiscard]] auto bound(std::ptrdiff_t index) {
    const auto size = static_cast<std::ptrdiff_t>(items.size());
    return items.begin() + std::clamp<std::ptrdiff_t>(index < 0 ? index + size : index, 0, size);
  }
};

struct ModifyItem {
  template <typename F, typename T, typename... As>
  auto operator()(F& function, ListStore<T>& all, std::ptrdiff_t index, As&&... arguments) const {
    return std::invoke(function, all.at(index), std::forward<As>(arguments)...);
  }
};
struct ModifyValue {
  template <typename F, typename T, typename... As>
  auto operator()(F& function, T& value, As&&... arguments) const {
    return std::invoke(function, value, std::forward<As>(arguments)...);
  }
};

}  // namespace kin::detail

namespace kin::managed {

/// Elements one behind the other, in a manager's server; as many as there were at first.
///
/// Indices below zero count from the end.
/// Throws: as Proxy; std::out_of_range.
/// Python: manager.Array().
template <typename T>
class Array : public Proxy<detail::ListStore<T>> {
 protected:
  using Store = detail::ListStore<T>;

 public:
  using value_type = T;
  using Proxy<Store>::apply;

  Array() noexcept = default;
  explicit Array(Proxy<Store> proxy) : Proxy<Store>(std::move(proxy)) {}

  [[nodiscard]] T get(std::ptrdiff_t index) const {
    return apply([](Store& all, std::ptrdiff_t i) { return all.at(i); }, index);
  }
  void set(std::ptrdiff_t index, const T& value) const {
    apply([](Store& all, std::ptrdiff_t i, T v) { all.at(i) = std::move(v); }, index, value);
  }
  [[nodiscard]] std::size_t size() const {
    return apply([](Store& all) { return all.items.size(); });
  }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::vector<T> copy() const {
    return apply([](Store& all) { return all.items; });
  }
  /// Those from `first` on, before `last`.
  [[nodiscard]] std::vector<T> slice(std::ptrdiff_t first, std::ptrdiff_t last) const {
    return apply(
        [](Store& all, std::ptrdiff_t f, std::ptrdiff_t l) {
          const auto begin = all.bound(f);
          return std::vector<T>(begin, std::max(begin, all.bound(l)));
        },
        first, last);
  }
  [[nodiscard]] bool contains(const T& value) const { return count(value) != 0; }
  [[nodiscard]] std::size_t count(const T& value) const {
    return apply(
        [](Store& all, const T& v) {
          return static_cast<std::size_t>(std::ranges::count(all.items, v));
        },
        value);
  }
  void reverse() const {
    apply([](Store& all) { std::ranges::reverse(all.items); });
  }
  void sort() const {
    apply([](Store& all) { std::ranges::sort(all.items); });
  }
  /// Calls function(T&, arguments...) in the server; gives its result.
  template <typename Function, typename... Arguments>
    requires std::invocable<Function&, T&, detail::ArgumentOf<Arguments>...>
  auto modify(std::ptrdiff_t index, const Function& function, Arguments&&... arguments) const {
    return apply(detail::within<detail::ModifyItem, std::decay_t<const Function&>>(function), index,
                 std::forward<Arguments>(arguments)...);
  }

  friend std::ostream& operator<<(std::ostream& out, const Array& list) {
    out << '[';
    const char* separator = "";
    for (const T& item : list.copy()) {
      out << std::exchange(separator, ", ");
      detail::print_value(out, item);
    }
    return out << ']';
  }
};

/// A list in a manager's server.
///
///     auto words = manager.list<std::string>({"b", "a"});
///     words.append("c");
///     words.sort();
///     for (const std::string& word : words.copy()) std::cout << word << '\n';
///     std::cout << words << '\n';  // ["a", "b", "c"]
///
/// Each member function is one call. Elements are copies: to change one where it is, modify() it, or keep
/// proxies in the list.
/// Throws: as Proxy; std::out_of_range.
/// Python: manager.list().
template <typename T>
class List : public Array<T> {
  using Store = detail::ListStore<T>;

 public:
  using Array<T>::apply;

  List() noexcept = default;
  explicit List(Proxy<Store> proxy) : Array<T>(std::move(proxy)) {}

  void append(const T& value) const {
    apply([](Store& all, T v) { all.items.push_back(std::move(v)); }, value);
  }
  void extend(const std::vector<T>& values) const {
    apply(
        [](Store& all, const std::vector<T>& more) {
          all.items.insert(all.items.end(), more.begin(), more.end());
        },
        values);
  }
  void extend(const List& other) const { extend(other.copy()); }
  const List& operator+=(const std::vector<T>& values) const {
    extend(values);
    return *this;
  }
  void insert(std::ptrdiff_t index, const T& value) const {
    apply([](Store& all, std::ptrdiff_t i, T v) { all.items.insert(all.bound(i), std::move(v)); },
          index, value);
  }
  T pop(std::ptrdiff_t index = -1) const {
    return apply(
        [](Store& all, std::ptrdiff_t i) {
          const std::size_t at = all.place(i);
          T item = std::move(all.items[at]);
          all.items.erase(all.items.begin() + static_cast<std::ptrdiff_t>(at));
          return item;
        },
        index);
  }
  /// The first that is equal; whether there was one.
  bool remove(const T& value) const {
    return apply(
        [](Store& all, const T& v) {
          const auto found = std::ranges::find(all.items, v);
          if (found == all.items.end()) return false;
          all.items.erase(found);
          return true;
        },
        value);
  }
  void clear() const {
    apply([](Store& all) { all.items.clear(); });
  }
};

/// One value in a manager's server.
///
///     auto hits = manager.value<int>(0);
///     hits.fetch_add(1);
///
/// Throws: as Proxy.
/// Python: manager.Value().
template <typename T>
class Value : public Proxy<T> {
 public:
  using Proxy<T>::apply;

  Value() noexcept = default;
  explicit Value(Proxy<T> proxy) : Proxy<T>(std::move(proxy)) {}

  [[nodiscard]] T load() const { return this->copy(); }
  void store(const T& value) const {
    apply([](T& it, T v) { it = std::move(v); }, value);
  }
  /// Adds; the value before.
  T fetch_add(const T& summand) const {
    return apply(
        [](T& it, const T& s) {
          T before = it;
          it = static_cast<T>(it + s);
          return before;
        },
        summand);
  }
  /// Stores it if the value is `expected`; else `expected` becomes what it is.
  bool compare_exchange(T& expected, const T& desired) const {
    auto other = apply(
        [](T& it, const T& e, T d) -> std::optional<T> {
          if (!(it == e)) return it;
          it = std::move(d);
          return std::nullopt;
        },
        expected, desired);
    if (!other) return true;
    expected = *std::move(other);
    return false;
  }
  /// Calls function(T&, arguments...) in the server; gives its result.
  template <typename Function, typename... Arguments>
    requires std::invocable<Function&, T&, detail::ArgumentOf<Arguments>...>
  auto modify(const Function& function, Arguments&&... arguments) const {
    return apply(detail::within<detail::ModifyValue, std::decay_t<const Function&>>(function),
                 std::forward<Arguments>(arguments)...);
  }

  friend std::ostream& operator<<(std::ostream& out, const Value& value) {
    detail::print_value(out, value.load());
    return out;
  }
};

}  // namespace kin::managed
