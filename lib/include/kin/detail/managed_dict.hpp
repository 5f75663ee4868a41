// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/managed_contents.hpp>
#include <kin/detail/managed_element.hpp>
#include <kin/detail/ordered_dict.hpp>
#include <kin/proxy.hpp>

#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <string_view>
#include <utility>
#include <vector>

namespace kin::managed {

/// A dictionary in a manager's server. Keeps the order in which keys were inserted.
///
///     auto counts = manager.dict<std::string, int>({{"count", 100}});
///     counts["count"] -= 1;                               // two calls: a race without a lock
///     counts.modify("count", [](int& n) { --n; });        // one call, atomic
///     for (const auto& [name, n] : counts) std::cout << name << '\n';  // a copy, of this moment
///     std::cout << counts << '\n';                        // {"count": 98}
///
/// Each member function is one call, and so is the making of an iterator, which goes through a copy; with a
/// dictionary of another manager it is two, of which the first reads that. Values are copies: to change one
/// where it is, modify() it, or keep proxies in the dictionary.
/// Throws: as Proxy; std::out_of_range for a key that is not there.
/// Python: manager.dict().
template <typename K, typename V>
class Dict : public Proxy<detail::OrderedDict<K, V>> {
  using Store = detail::OrderedDict<K, V>;
  using Base = Proxy<Store>;
  using Items = std::vector<std::pair<K, V>>;
  using Contents = detail::Contents<Items, Dict>;

 public:
  using key_type = K;
  using mapped_type = V;
  using value_type = std::pair<K, V>;
  using Base::apply;

  Dict() noexcept = default;
  explicit Dict(Base proxy) : Base(std::move(proxy)) {}

  [[nodiscard]] Element<Dict> operator[](K key) const { return {*this, std::move(key)}; }
  [[nodiscard]] V get(const K& key) const {
    return this->own([](Store& all, const K& k) { return all.at(k); }, key);
  }
  [[nodiscard]] V get(const K& key, const V& otherwise) const {
    return try_get(key).value_or(otherwise);
  }
  [[nodiscard]] std::optional<V> try_get(const K& key) const {
    return this->own(
        [](Store& all, const K& k) {
          const V* value = all.find(k);
          return value == nullptr ? std::optional<V>() : std::optional<V>(*value);
        },
        key);
  }
  void set(const K& key, const V& value) const {
    this->own([](Store& all, const K& k, V v) { all.set(k, std::move(v)); }, key, value);
  }
  [[nodiscard]] bool contains(const K& key) const {
    return this->own([](Store& all, const K& k) { return all.find(k) != nullptr; }, key);
  }
  [[nodiscard]] std::size_t size() const {
    return this->own([](Store& all) { return all.size(); });
  }
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// Whether it was there.
  bool erase(const K& key) const {
    return this->own([](Store& all, const K& k) { return all.take(k).has_value(); }, key);
  }
  /// Takes it out.
  V pop(const K& key) const {
    return this->own(
        [](Store& all, const K& k) {
          auto taken = all.take(k);
          if (!taken) Store::complain_missing(k);
          return *std::move(taken);
        },
        key);
  }
  V pop(const K& key, const V& otherwise) const {
    return this->own([](Store& all, const K& k) { return all.take(k); }, key).value_or(otherwise);
  }
  /// The one that was inserted last.
  std::pair<K, V> popitem() const {
    return this->own([](Store& all) { return all.take_last(); });
  }
  /// The value, which is this one if there was none.
  V setdefault(const K& key, const V& value) const {
    return this->own(
        [](Store& all, const K& k, V v) {
          const V* known = all.find(k);
          return known != nullptr ? *known : all.set(k, std::move(v));
        },
        key, value);
  }
  void clear() const {
    this->own([](Store& all) { all.clear(); });
  }

  [[nodiscard]] Items items() const {
    return this->own([](Store& all) { return all.copy(); });
  }
  [[nodiscard]] std::vector<K> keys() const {
    return this->own([](Store& all) {
      std::vector<K> keys;
      keys.reserve(all.size());
      for (const auto& item : all.items()) keys.push_back(item.first);
      return keys;
    });
  }
  [[nodiscard]] std::vector<V> values() const {
    return this->own([](Store& all) {
      std::vector<V> values;
      values.reserve(all.size());
      for (const auto& item : all.items()) values.push_back(item.second);
      return values;
    });
  }
  /// The items of this moment.
  [[nodiscard]] Items copy() const { return items(); }

  /// Sets all of these, which may be another Dict's.
  void update(Contents items) const {
    this->own(
        [](Store& all, Contents given) {
          for (auto& item : std::move(given).take()) all.set(item.first, std::move(item.second));
        },
        std::move(items).for_call(this->object()));
  }
  const Dict& operator|=(Contents items) const {
    update(std::move(items));
    return *this;
  }
  /// The items of both; of a key that both have, the value on the right.
  [[nodiscard]] friend Items operator|(const Dict& left, Contents right) {
    return left.own(
        [](Store& all, Contents given) {
          Store both(all);
          for (auto& item : std::move(given).take()) both.set(item.first, std::move(item.second));
          return both.copy();
        },
        std::move(right).for_call(left.object()));
  }
  [[nodiscard]] friend Items operator|(const Items& left, const Dict& right) {
    return right.own(
        [](Store& all, Items given) {
          Store both(std::move(given));
          for (const auto& item : all.items()) both.set(item.first, item.second);
          return both.copy();
        },
        left);
  }

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
    return this->own(
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
    auto other = this->own(
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

  /// Through the items of the moment in which the loop begins.
  using Iterator = detail::SnapshotIterator<Items>;
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
  template <typename, typename>
  friend class detail::Contents;

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
