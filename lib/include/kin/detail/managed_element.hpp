// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <compare>
#include <ostream>
#include <utility>

namespace kin::managed {

/// What `dict[key]` and `list[index]` are: the element, where it is. Reading and writing it are a call each.
///
///     int before = counts["a"];  // one call
///     counts["a"] = 5;           // one call
///     counts["a"] -= 1;          // two calls, and what another does in between is lost: see modify()
///
/// Can't be copied, and converts only where it stands: `auto n = counts["a"]` is no number that was read
/// once.
template <typename Container>
class Element {
  using K = typename Container::key_type;
  using V = typename Container::mapped_type;

 public:
  Element(const Element&) = delete;
  ~Element() = default;

  [[nodiscard]] V get() const { return container_.get(key_); }
  operator V() && { return get(); }  // NOLINT: reads like the value

  const Element& operator=(const V& value) const {  // NOLINT: assigns through
    container_.set(key_, value);
    return *this;
  }
  const Element& operator=(const Element& other) const {  // NOLINT: assigns through
    return *this = other.get();
  }
  Element& operator=(const Element& other) {  // NOLINT: assigns through
    container_.set(key_, other.get());
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
  friend Container;
  Element(Container container, K key) : container_(std::move(container)), key_(std::move(key)) {}

  Container container_;
  K key_;
};

}  // namespace kin::managed
