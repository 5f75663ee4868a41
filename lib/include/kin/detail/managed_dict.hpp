// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/proxy.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <list>
#include <optional>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
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
      std::ostringstream text;
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
    bool operator()(const K& left, const K& right) const { return left == right; }
  };

  Items items_;
  std::unordered_map<KeyRef, typename Items::iterator, Hash, Equal> index_;
};

template <typename T>
void print_value(std::ostream& out, const T& value) {
  if constexpr (std::convertible_to<const T&, std::string_view>) {
    out << '"' << std::string_view(value) << '"';
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "...";
  }
}

}  // namespace kin::detail

namespace kin::managed {

template <typename K, typename V>
class Dict;

/// What `dict[key]` is: the element, where it is. Reading and writing it are a call each.
///
///     int before = counts["a"];  // one call
///     counts["a"] = 5;           // one call
///     counts["a"] -= 1;          // two calls, and what another does in between is lost: see modify()
///
/// Can't be copied, and converts only where it stands: `auto n = counts["a"]` is no number that was read
/// once.
template <typename K, typename V>
class Element {
 public:
  Element(const Element&) = delete;
  ~Element() = default;

  [[nodiscard]] V get() const { return dict_.get(key_); }
  operator V() && { return get(); }  // NOLINT: reads like the value

  const Element& operator=(const V& value) const {  // NOLINT: assigns through
    dict_.set(key_, value);
    return *this;
  }
  const Element& operator=(const Element& other) const {  // NOLINT: assigns through
    return *this = other.get();
  }
  Element& operator=(const Element& other) {  // NOLINT: assigns through
    dict_.set(key_, other.get());
    return *this;
  }

  template <typename U>
  const Element& operator+=(const U& other) const {
    return *this = static_cast<V>(get() + other);
  }
  template <typename U>
  const Element& operator-=(const U& other) const {
    return *this = static_cast<V>(get() - other);
  }
  template <typename U>
  const Element& operator*=(const U& other) const {
    return *this = static_cast<V>(get() * other);
  }
  template <typename U>
  const Element& operator/=(const U& other) const {
    return *this = static_cast<V>(get() / other);
  }

  friend bool operator==(const Element& left, const V& right) { return left.get() == right; }
  friend bool operator==(const Element& left, const Element& right) {
    return left.get() == right.get();
  }
  friend auto operator<=>(const Element& left, const V& right)
    requires std::three_way_comparable<V>
  {
    return left.get() <=> right;
  }
  friend std::ostream& operator<<(std::ostream& out, const Element& element)
    requires requires(const V& value) { out << value; }
  {
    return out << element.get();
  }
  /// Of a dictionary in a dictionary.
  template <typename Key>
  auto operator[](const Key& key) const
    requires requires(V value) { value[key]; }
  {
    return get()[key];
  }

 private:
  friend class Dict<K, V>;
  Element(Dict<K, V> dict, K key) : dict_(std::move(dict)), key_(std::move(key)) {}

  Dict<K, V> dict_;
  K key_;
};

/// A dictionary in a manager's server. Keeps the order in which keys were inserted.
///
///     auto counts = manager.dict<std::string, int>({{"count", 100}});
///     counts["count"] -= 1;                               // two calls: a race without a lock
///     counts.modify("count", [](int& n) { --n; });        // one call, atomic
///     for (const auto& [name, n] : counts) std::cout << name << '\n';  // a copy, of this moment
///     std::cout << counts << '\n';                        // {"count": 98}
///
/// Each member function is one call, and so is the making of an iterator, which goes through a copy. Values
/// are copies: to change one where it is, modify() it, or keep proxies in the dictionary.
/// Throws: as Proxy; std::out_of_range for a key that is not there.
/// Python: manager.dict().
template <typename K, typename V>
class Dict : public Proxy<detail::OrderedDict<K, V>> {
  using Store = detail::OrderedDict<K, V>;
  using Base = Proxy<Store>;

 public:
  using key_type = K;
  using mapped_type = V;
  using value_type = std::pair<K, V>;
  using Base::apply;

  Dict() noexcept = default;
  explicit Dict(Base proxy) : Base(std::move(proxy)) {}

  [[nodiscard]] Element<K, V> operator[](K key) const { return {*this, std::move(key)}; }
  [[nodiscard]] V get(const K& key) const {
    return apply([](Store& all, const K& k) { return all.at(k); }, key);
  }
  [[nodiscard]] V get(const K& key, const V& otherwise) const {
    return try_get(key).value_or(otherwise);
  }
  [[nodiscard]] std::optional<V> try_get(const K& key) const {
    return apply(
        [](Store& all, const K& k) {
          const V* value = all.find(k);
          return value == nullptr ? std::optional<V>() : std::optional<V>(*value);
        },
        key);
  }
  void set(const K& key, const V& value) const {
    apply([](Store& all, const K& k, V v) { all.set(k, std::move(v)); }, key, value);
  }
  [[nodiscard]] bool contains(const K& key) const {
    return apply([](Store& all, const K& k) { return all.find(k) != nullptr; }, key);
  }
  [[nodiscard]] std::size_t size() const {
    return apply([](Store& all) { return all.size(); });
  }
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// Whether it was there.
  bool erase(const K& key) const {
    return apply([](Store& all, const K& k) { return all.take(k).has_value(); }, key);
  }
  /// Takes it out.
  V pop(const K& key) const {
    return apply(
        [](Store& all, const K& k) {
          auto taken = all.take(k);
          if (!taken) Store::complain_missing(k);
          return *std::move(taken);
        },
        key);
  }
  V pop(const K& key, const V& otherwise) const {
    return apply([](Store& all, const K& k) { return all.take(k); }, key).value_or(otherwise);
  }
  /// The one that was inserted last.
  std::pair<K, V> popitem() const {
    return apply([](Store& all) { return all.take_last(); });
  }
  /// The value, which is this one if there was none.
  V setdefault(const K& key, const V& value) const {
    return apply(
        [](Store& all, const K& k, V v) {
          const V* known = all.find(k);
          return known != nullptr ? *known : all.set(k, std::move(v));
        },
        key, value);
  }
  void clear() const {
    apply([](Store& all) { all.clear(); });
  }

  [[nodiscard]] std::vector<std::pair<K, V>> items() const {
    return apply([](Store& all) {
      return std::vector<std::pair<K, V>>(all.items().begin(), all.items().end());
    });
  }
  [[nodiscard]] std::vector<K> keys() const {
    return apply([](Store& all) {
      std::vector<K> keys;
      keys.reserve(all.size());
      for (const auto& item : all.items()) keys.push_back(item.first);
      return keys;
    });
  }
  [[nodiscard]] std::vector<V> values() const {
    return apply([](Store& all) {
      std::vector<V> values;
      values.reserve(all.size());
      for (const auto& item : all.items()) values.push_back(item.second);
      return values;
    });
  }
  /// The items of this moment.
  [[nodiscard]] std::vector<std::pair<K, V>> copy() const { return items(); }

  /// Sets all of these, which may be another Dict.
  void update(const std::vector<std::pair<K, V>>& items) const {
    apply(
        [](Store& all, std::vector<std::pair<K, V>> given) {
          for (auto& item : given) all.set(item.first, std::move(item.second));
        },
        items);
  }
  void update(std::initializer_list<std::pair<K, V>> items) const {
    update(std::vector<std::pair<K, V>>(items));
  }
  void update(const Dict& other) const { update(other.items()); }

  /// Calls function(V&, arguments...) in the server; gives its result.
  template <typename Function, typename... Arguments>
    requires std::invocable<Function&, V&, detail::ArgumentOf<Arguments>...>
  auto modify(const K& key, const Function& function, Arguments&&... arguments) const {
    return apply(detail::within<Modify, std::decay_t<const Function&>>(function), key,
                 std::forward<Arguments>(arguments)...);
  }
  /// The same, where a key that is not there is set first.
  template <typename Function, typename... Arguments>
    requires std::invocable<Function&, V&, detail::ArgumentOf<Arguments>...>
  auto modify(const K& key, const V& initial, const Function& function,
              Arguments&&... arguments) const {
    return apply(detail::within<ModifyOrMake, std::decay_t<const Function&>>(function), key,
                 initial, std::forward<Arguments>(arguments)...);
  }
  /// Adds; the value before.
  V fetch_add(const K& key, const V& summand) const {
    return apply(
        [](Store& all, const K& k, const V& s) {
          V& value = all.at(k);
          V before = value;
          value = static_cast<V>(value + s);
          return before;
        },
        key, summand);
  }
  /// Sets it if it is `expected`; else `expected` becomes what it is.
  bool compare_exchange(const K& key, V& expected, const V& desired) const {
    auto other = apply(
        [](Store& all, const K& k, const V& e, V d) -> std::optional<V> {
          V& value = all.at(k);
          if (!(value == e)) return value;
          value = std::move(d);
          return std::nullopt;
        },
        key, expected, desired);
    if (!other) return true;
    expected = *std::move(other);
    return false;
  }

  /// Through the items of the moment in which the iteration begins.
  class Iterator {
   public:
    using value_type = std::pair<K, V>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    Iterator() = default;
    explicit Iterator(std::vector<std::pair<K, V>> items)
        : items_(std::make_shared<std::vector<std::pair<K, V>>>(std::move(items))) {}
    const value_type& operator*() const { return (*items_)[at_]; }
    const value_type* operator->() const { return &(*items_)[at_]; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    friend bool operator==(const Iterator& left, std::default_sentinel_t /*end*/) {
      return left.at_ == left.items_->size();
    }

   private:
    std::shared_ptr<std::vector<std::pair<K, V>>> items_;
    std::size_t at_ = 0;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(items()); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  friend std::ostream& operator<<(std::ostream& out, const Dict& dict) {
    out << '{';
    const char* separator = "";
    for (const auto& [key, value] : dict) {
      out << std::exchange(separator, ", ");
      detail::print_value(out, key);
      out << ": ";
      detail::print_value(out, value);
    }
    return out << '}';
  }

 private:
  struct Modify {
    template <typename F, typename... As>
    auto operator()(F& function, Store& all, const K& key, As&&... arguments) const {
      return std::invoke(function, all.at(key), std::forward<As>(arguments)...);
    }
  };
  struct ModifyOrMake {
    template <typename F, typename... As>
    auto operator()(F& function, Store& all, const K& key, const V& initial,
                    As&&... arguments) const {
      V* value = all.find(key);
      if (value == nullptr) value = &all.set(key, initial);
      return std::invoke(function, *value, std::forward<As>(arguments)...);
    }
  };
};

}  // namespace kin::managed
