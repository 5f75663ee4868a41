// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/managed_contents.hpp>
#include <kin/proxy.hpp>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <ostream>
#include <set>
#include <stdexcept>
#include <utility>

namespace kin::detail {

enum class Inclusion : std::uint8_t { none, less, equal, greater };

/// What a managed::Set compares and combines, in the server.
template <typename T>
struct SetWork {
  using Store = std::set<T>;

  static bool includes(const Store& all, const Store& some) {
    return std::includes(all.begin(), all.end(), some.begin(), some.end());
  }
  static Inclusion compare(const Store& left, const Store& right) {
    if (left.size() < right.size()) {
      return includes(right, left) ? Inclusion::less : Inclusion::none;
    }
    if (!includes(left, right)) return Inclusion::none;
    return left.size() == right.size() ? Inclusion::equal : Inclusion::greater;
  }
  static Store unite(Store left, Store right) {
    left.merge(right);
    return left;
  }
  static Store intersect(const Store& left, const Store& right) {
    Store both;
    std::ranges::set_intersection(left, right, std::inserter(both, both.end()));
    return both;
  }
  static Store subtract(Store left, const Store& right) {
    for (const T& value : right) left.erase(value);
    return left;
  }
  static Store differ(const Store& left, const Store& right) {
    Store one;
    std::ranges::set_symmetric_difference(left, right, std::inserter(one, one.end()));
    return one;
  }
};

[[nodiscard]] constexpr std::partial_ordering ordering_of(Inclusion inclusion) noexcept {
  switch (inclusion) {
    case Inclusion::less: return std::partial_ordering::less;
    case Inclusion::equal: return std::partial_ordering::equivalent;
    case Inclusion::greater: return std::partial_ordering::greater;
    case Inclusion::none: break;
  }
  return std::partial_ordering::unordered;
}

}  // namespace kin::detail

namespace kin::managed {

/// A set in a manager's server, in the order of its elements.
///
///     auto seen = manager.set<std::string>({"a"});
///     if (seen.add("b")) std::cout << "b is new\n";  // one call, atomic
///     seen |= {"c", "d"};
///     std::set<std::string> rest = seen - std::set<std::string>{"a"};  // a plain set
///     for (const std::string& name : seen) std::cout << name << '\n';  // a copy, of this moment
///     std::cout << seen << '\n';  // {"a", "b", "c", "d"}
///
/// Each function and operator is one call, and so is the making of an iterator, which goes through a copy; with
/// a set of another manager it is two, of which the first reads that. `<=` asks whether the left one is a
/// subset of the right one. `==` compares elements with a std::set; two Sets are equal if both name the same one,
/// as all proxies: compare a copy().
/// Throws: as Proxy; std::out_of_range from remove() and pop() for what is not there.
/// Python: manager.set().
template <typename T>
class Set : public Proxy<std::set<T>> {
  using Store = std::set<T>;
  using Base = Proxy<Store>;
  using Work = detail::SetWork<T>;
  using Contents = detail::Contents<Store, Set>;

 public:
  using key_type = T;
  using value_type = T;
  using Base::apply;

  Set() noexcept = default;
  explicit Set(Base proxy) : Base(std::move(proxy)) {}

  /// Whether it is new.
  bool add(const T& value) const {
    return this->own([](Store& all, T v) { return all.insert(std::move(v)).second; }, value);
  }
  /// Whether it was there.
  bool discard(const T& value) const {
    return this->own([](Store& all, const T& v) { return all.erase(v) != 0; }, value);
  }
  void remove(const T& value) const {
    if (!discard(value)) throw std::out_of_range("kin: the set has no such element");
  }
  /// Takes one out: the first.
  T pop() const {
    return this->own([](Store& all) {
      if (all.empty()) throw std::out_of_range("kin: the set is empty");
      return T(std::move(all.extract(all.begin()).value()));
    });
  }
  void clear() const {
    this->own([](Store& all) { all.clear(); });
  }
  [[nodiscard]] bool contains(const T& value) const {
    return this->own([](Store& all, const T& v) { return all.contains(v); }, value);
  }
  [[nodiscard]] std::size_t size() const {
    return this->own([](Store& all) { return all.size(); });
  }
  [[nodiscard]] bool empty() const { return size() == 0; }
  /// Its elements of this moment.
  [[nodiscard]] Store copy() const {
    return this->own([](Store& all) { return Store(all); });
  }

  /// Adds all of these.
  void update(Contents values) const { become<Work::unite>(std::move(values)); }
  const Set& operator|=(Contents values) const { return become<Work::unite>(std::move(values)); }
  /// Keeps those that are among these.
  void intersection_update(Contents values) const { become<Work::intersect>(std::move(values)); }
  const Set& operator&=(Contents values) const {
    return become<Work::intersect>(std::move(values));
  }
  /// Takes out all of these.
  void difference_update(Contents values) const { become<Work::subtract>(std::move(values)); }
  const Set& operator-=(Contents values) const { return become<Work::subtract>(std::move(values)); }
  /// Takes out those of these that are there, and adds the others.
  void symmetric_difference_update(Contents values) const {
    become<Work::differ>(std::move(values));
  }
  const Set& operator^=(Contents values) const { return become<Work::differ>(std::move(values)); }

  /// New sets, here.
  [[nodiscard]] Store union_with(Contents values) const {
    return combine<Work::unite>(std::move(values));
  }
  [[nodiscard]] Store intersection(Contents values) const {
    return combine<Work::intersect>(std::move(values));
  }
  [[nodiscard]] Store difference(Contents values) const {
    return combine<Work::subtract>(std::move(values));
  }
  [[nodiscard]] Store symmetric_difference(Contents values) const {
    return combine<Work::differ>(std::move(values));
  }
  [[nodiscard]] friend Store operator|(const Set& left, Contents right) {
    return left.union_with(std::move(right));
  }
  [[nodiscard]] friend Store operator&(const Set& left, Contents right) {
    return left.intersection(std::move(right));
  }
  [[nodiscard]] friend Store operator-(const Set& left, Contents right) {
    return left.difference(std::move(right));
  }
  [[nodiscard]] friend Store operator^(const Set& left, Contents right) {
    return left.symmetric_difference(std::move(right));
  }
  [[nodiscard]] friend Store operator|(const Store& left, const Set& right) { return right | left; }
  [[nodiscard]] friend Store operator&(const Store& left, const Set& right) { return right & left; }
  [[nodiscard]] friend Store operator-(const Store& left, const Set& right) {
    return right.own([](Store& all, Store given) { return Work::subtract(std::move(given), all); },
                     left);
  }
  [[nodiscard]] friend Store operator^(const Store& left, const Set& right) { return right ^ left; }

  [[nodiscard]] bool isdisjoint(Contents values) const {
    return this->own(
        [](Store& all, Contents given) {
          return Work::intersect(all, std::move(given).take()).empty();
        },
        std::move(values).for_call(this->object()));
  }
  [[nodiscard]] bool issubset(Contents values) const {
    return std::is_lteq(compare(std::move(values)));
  }
  [[nodiscard]] bool issuperset(Contents values) const {
    return std::is_gteq(compare(std::move(values)));
  }
  [[nodiscard]] friend bool operator==(const Set& left, const Store& right) {
    return std::is_eq(left.compare(right));
  }
  [[nodiscard]] friend std::partial_ordering operator<=>(const Set& left, const Store& right) {
    return left.compare(right);
  }
  [[nodiscard]] friend std::partial_ordering operator<=>(const Set& left, const Set& right) {
    return left.compare(right);
  }

  /// Through the elements of the moment in which the loop begins.
  using Iterator = detail::SnapshotIterator<Store>;
  [[nodiscard]] Iterator begin() const { return Iterator(copy()); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  friend std::ostream& operator<<(std::ostream& out, const Set& set) {
    detail::print_values(out, '{', set, '}');
    return out;
  }

 private:
  template <typename, typename>
  friend class detail::Contents;

  template <auto work>
  const Set& become(Contents values) const {
    this->own(
        [](Store& all, Contents given) {
          Store taken = std::move(given).take();  // which may be a copy of `all`
          all = work(std::move(all), std::move(taken));
        },
        std::move(values).for_call(this->object()));
    return *this;
  }
  template <auto work>
  [[nodiscard]] Store combine(Contents values) const {
    return this->own([](Store& all, Contents given) { return work(all, std::move(given).take()); },
                     std::move(values).for_call(this->object()));
  }
  [[nodiscard]] std::partial_ordering compare(Contents values) const {
    return detail::ordering_of(this->own(
        [](Store& all, Contents given) { return Work::compare(all, std::move(given).take()); },
        std::move(values).for_call(this->object())));
  }
};

}  // namespace kin::managed
