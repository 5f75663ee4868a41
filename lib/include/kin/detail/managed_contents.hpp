// SPDX-License-Identifier: BSL-1.0
#pragma once

// What the containers of managers have in common: loops through a copy, printing, and elements that come
// from another container.

#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>
#include <kin/proxy.hpp>

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ostream>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace kin::detail {

/// Whether one server holds both.
[[nodiscard]] KIN_EXPORT bool have_same_server(const Object& left, const Object& right) noexcept;

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

template <typename Values>
void print_values(std::ostream& out, char open, const Values& values, char close) {
  out << open;
  const char* separator = "";
  for (const auto& value : values) {
    out << std::exchange(separator, ", ");
    print_value(out, value);
  }
  out << close;
}

/// A range of elements for a container of Values, and not one already.
template <typename R, typename Values>
concept ElementsFor =
    std::ranges::input_range<R> &&
    std::convertible_to<std::ranges::range_reference_t<R>, typename Values::value_type> &&
    !std::same_as<std::remove_cvref_t<R>, Values>;

template <typename Values, typename R>
[[nodiscard]] Values collect(R& range) {
  Values values;
  for (auto&& one : range) {
    values.insert(values.end(), typename Values::value_type(std::forward<decltype(one)>(one)));
  }
  return values;
}

/// Goes through a copy of a container, of the moment in which the loop began.
template <typename Values>
class SnapshotIterator {
 public:
  using value_type = typename Values::value_type;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  /// At an end.
  SnapshotIterator() = default;
  explicit SnapshotIterator(Values values)
      : values_(std::make_shared<const Values>(std::move(values))), at_(values_->begin()) {}

  decltype(auto) operator*() const { return *at_; }
  const value_type* operator->() const { return std::addressof(*at_); }
  SnapshotIterator& operator++() {
    ++at_;
    return *this;
  }
  void operator++(int) { ++at_; }
  friend bool operator==(const SnapshotIterator& left, std::default_sentinel_t /*end*/) {
    return left.values_ == nullptr || left.at_ == left.values_->end();
  }

 private:
  std::shared_ptr<const Values> values_;
  typename Values::const_iterator at_{};
};

/// Elements that a function of a managed container is given: those of a braced list or of any range; or those
/// of another such container, which the server reads in the same call if it holds both. One of another
/// manager's is read first.
template <typename Values, typename Managed>
class Contents {
  using Element = typename Values::value_type;

 public:
  Contents() = default;
  Contents(Values values) : from_(std::move(values)) {}  // NOLINT: converts
  Contents(std::initializer_list<Element> values)        // NOLINT: converts
      : from_(Values(values.begin(), values.end())) {}
  Contents(const Managed& other) : from_(other) {}  // NOLINT: converts
  template <ElementsFor<Values> R>
    requires(!std::derived_from<std::remove_cvref_t<R>, Managed> &&
             !std::same_as<std::remove_cvref_t<R>, Contents>)
  Contents(R&& range) : from_(collect<Values>(range)) {}  // NOLINT: converts

  /// For a call of that object: in the form in which its server can take them.
  [[nodiscard]] Contents for_call(const Object& object) && {
    const Managed* other = std::get_if<Managed>(&from_);
    if (other == nullptr || have_same_server(other->object(), object)) return std::move(*this);
    return Contents(other->copy());
  }
  /// In the server.
  [[nodiscard]] Values take() && {
    if (const Managed* other = std::get_if<Managed>(&from_)) return other->copy();
    return std::get<Values>(std::move(from_));
  }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& from_;
  }

  std::variant<Values, Managed> from_;
};

}  // namespace kin::detail
