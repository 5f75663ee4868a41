// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/managed_contents.hpp>
#include <kin/proxy.hpp>

#include <concepts>
#include <functional>
#include <optional>
#include <ostream>
#include <type_traits>
#include <utility>

namespace kin::detail {

struct ModifyValue {
  template <typename F, typename T, typename... As>
  auto operator()(F& function, T& value, As&&... arguments) const {
    return std::invoke(function, value, std::forward<As>(arguments)...);
  }
};

}  // namespace kin::detail

namespace kin::managed {

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

  [[nodiscard]] T load() const {
    return this->own([](T& it) { return T(it); });
  }
  void store(const T& value) const {
    this->own([](T& it, T v) { it = std::move(v); }, value);
  }
  /// Adds; the value before.
  T fetch_add(const T& summand) const {
    return this->own(
        [](T& it, const T& s) {
          T before = it;
          it = static_cast<T>(it + s);
          return before;
        },
        summand);
  }
  /// Stores it if the value is `expected`; else `expected` becomes what it is.
  bool compare_exchange(T& expected, const T& desired) const {
    auto other = this->own(
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
