// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace kin::managed {

/// Some elements of a list: those from `first` on, before `last`, of them each `step`th. Indices below zero
/// count from the end; what lies beyond an end is none; a step below zero goes backwards.
///
///     words.slice({.step = -1});             // all, from the last to the first
///     words.erase({.first = 1, .last = -1});  // all but the first and the last
///
/// Python: [first:last:step].
struct Slice {
  std::optional<std::ptrdiff_t> first = std::nullopt;
  std::optional<std::ptrdiff_t> last = std::nullopt;
  std::ptrdiff_t step = 1;
};

}  // namespace kin::managed

namespace kin::detail {

/// The places that a slice has in a list of that length.
struct SlicePlaces {
  std::ptrdiff_t first;  // NOLINT(modernize-use-default-member-init): it is computed
  std::ptrdiff_t step;
  std::ptrdiff_t count;  // NOLINT(modernize-use-default-member-init): it is computed

  /// Throws std::invalid_argument for a step of 0.
  KIN_EXPORT SlicePlaces(const managed::Slice& slice, std::size_t size);
  [[nodiscard]] std::ptrdiff_t operator[](std::ptrdiff_t at) const noexcept {
    return first + at * step;
  }
};

[[noreturn]] KIN_EXPORT void complain_slice(std::ptrdiff_t given, std::ptrdiff_t there);

/// What a list is in the server. Indices below zero count from the end.
template <typename T>
struct ListStore {
  static_assert(!std::same_as<T, bool>,
                "kin: a managed list can't be of bool, which std::vector does not hold as such: "
                "take char");
  std::vector<T> items;

  [[nodiscard]] std::ptrdiff_t place(std::ptrdiff_t index) const {
    const auto size = static_cast<std::ptrdiff_t>(items.size());
    const std::ptrdiff_t at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) throw std::out_of_range("kin: no such element in the list");
    return at;
  }
  [[nodiscard]] T& at(std::ptrdiff_t index) {
    return items[static_cast<std::size_t>(place(index))];
  }
  /// Of a range: what is beyond an end is none.
  [[nodiscard]] auto bound(std::ptrdiff_t index) {
    const auto size = static_cast<std::ptrdiff_t>(items.size());
    return items.begin() + std::clamp<std::ptrdiff_t>(index < 0 ? index + size : index, 0, size);
  }
  T take(std::ptrdiff_t index) {
    const auto at = items.begin() + place(index);
    T item = std::move(*at);
    items.erase(at);
    return item;
  }

  [[nodiscard]] std::vector<T> slice(const managed::Slice& slice) const {
    const SlicePlaces places(slice, items.size());
    std::vector<T> all;
    all.reserve(static_cast<std::size_t>(places.count));
    for (std::ptrdiff_t i = 0; i < places.count; ++i) all.push_back(*(items.begin() + places[i]));
    return all;
  }
  /// As many as there were; fewer or more only where they lie side by side and that is allowed.
  void assign(const managed::Slice& slice, std::vector<T> values, bool may_differ) {
    const SlicePlaces places(slice, items.size());
    const auto count = static_cast<std::ptrdiff_t>(values.size());
    if (count == places.count) {
      for (std::ptrdiff_t i = 0; i < count; ++i) {
        *(items.begin() + places[i]) = std::move(values[static_cast<std::size_t>(i)]);
      }
      return;
    }
    if (!may_differ || places.step != 1) complain_slice(count, places.count);
    std::vector<T> all;
    all.reserve(items.size() + values.size());
    const auto first = items.begin() + places.first;
    all.insert(all.end(), items.begin(), first);
    all.insert(all.end(), values.begin(), values.end());
    all.insert(all.end(), first + places.count, items.end());
    items = std::move(all);
  }
  void erase(const managed::Slice& slice) {
    const SlicePlaces places(slice, items.size());
    std::vector<bool> goes(items.size());
    for (std::ptrdiff_t i = 0; i < places.count; ++i) {
      goes[static_cast<std::size_t>(places[i])] = true;
    }
    std::vector<T> rest;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (!goes[i]) rest.push_back(std::move(items[i]));
    }
    items = std::move(rest);
  }
  void extend(const std::vector<T>& more) { items.insert(items.end(), more.begin(), more.end()); }
  [[nodiscard]] std::vector<T> repeated(std::ptrdiff_t times) const {
    std::vector<T> all;
    if (times <= 0 || items.empty()) return all;
    if (static_cast<std::size_t>(times) > all.max_size() / items.size()) {
      throw std::length_error("kin: so long a list there can't be");
    }
    for (std::ptrdiff_t i = 0; i < times; ++i) all.insert(all.end(), items.begin(), items.end());
    return all;
  }
  /// A comparison that throws leaves the list as it was.
  template <typename... How>
  void sort(How... how) {
    std::vector<T> sorted = items;
    std::ranges::stable_sort(sorted, how...);
    items = std::move(sorted);
  }
};

}  // namespace kin::detail
