// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <functional>
#include <iterator>
#include <list>
#include <optional>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

namespace kin::detail {

/// A dictionary that keeps the order in which keys were inserted: what a managed::Dict is in the server.
/// A list and an index of it, and not Boost.MultiIndex, whose headers take longer to compile than all of
/// kin's.
template <typename K, typename V>
class OrderedDict {
 public:
  using Items = std::list<std::pair<K, V>>;

  OrderedDict() = default;
  explicit OrderedDict(std::vector<std::pair<K, V>> items) {
    for (auto& item : items) set(item.first, std::move(item.second));
  }
  OrderedDict(const OrderedDict& other) {
    for (const auto& item : other.items_) set(item.first, item.second);
  }
  OrderedDict& operator=(const OrderedDict&) = delete;
  ~OrderedDict() = default;

  [[nodiscard]] const Items& items() const noexcept { return items_; }
  [[nodiscard]] std::vector<std::pair<K, V>> copy() const { return {items_.begin(), items_.end()}; }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] V* find(const K& key) {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &found->second->second;
  }
  [[nodiscard]] V& at(const K& key) {
    if (V* value = find(key)) return *value;
    complain_missing(key);
  }
  V& set(const K& key, V value) {
    if (V* known = find(key)) return *known = std::move(value);
    items_.emplace_back(key, std::move(value));
    try {
      index_.emplace(std::cref(items_.back().first), std::prev(items_.end()));
    } catch (...) {
      items_.pop_back();
      throw;
    }
    return items_.back().second;
  }
  [[nodiscard]] std::optional<V> take(const K& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return std::nullopt;
    const auto item = found->second;
    std::optional<V> value(std::move(item->second));
    index_.erase(found);
    items_.erase(item);
    return value;
  }
  std::pair<K, V> take_last() {
    if (items_.empty()) throw std::out_of_range("kin: the dictionary is empty");
    index_.erase(index_.find(items_.back().first));
    std::pair<K, V> item = std::move(items_.back());
    items_.pop_back();
    return item;
  }
  void clear() noexcept {
    index_.clear();
    items_.clear();
  }

  [[noreturn]] static void complain_missing(const K& key) {
    if constexpr (requires(std::ostream& out) { out << key; }) {
      std::ostringstream text;  // NOLINT(misc-const-correctness): it is written
      text << key;
      throw std::out_of_range("kin: the dictionary has no key " + text.str());
    } else {
      throw std::out_of_range("kin: the dictionary has no such key");
    }
  }

 private:
  // Keys stand in the list only.
  using KeyRef = std::reference_wrapper<const K>;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const K& key) const { return std::hash<K>{}(key); }
  };
  struct Equal {
    using is_transparent = void;
    // A NaN is the key that it is, though it equals none.
    bool operator()(const K& left, const K& right) const {
      return &left == &right || left == right;
    }
  };

  Items items_;
  std::unordered_map<KeyRef, typename Items::iterator, Hash, Equal> index_;
};

}  // namespace kin::detail
