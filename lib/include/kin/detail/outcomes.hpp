// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/container/vector.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace kin::detail {

/// Really a T each, as std::vector<bool> is not.
template <typename T>
using Items = boost::container::vector<T>;

/// Void as a value.
template <typename R>
using ValueOf = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// What the items of a chunk came to: a value each, or an exception at its place.
template <typename R>
struct Outcomes {
  Items<ValueOf<R>> values;
  std::vector<std::pair<std::size_t, std::exception_ptr>> failures;  // by rising place
};

/// Calls it with an item, or with the elements of one.
template <bool star, typename F, typename T>
decltype(auto) invoke_item(F& function, T&& item) {
  if constexpr (star) {
    return std::apply(function, std::forward<T>(item));
  } else {
    return std::invoke(function, std::forward<T>(item));
  }
}

template <bool star, typename F, typename T>
using ItemResult = std::decay_t<decltype(invoke_item<star>(std::declval<F&>(), std::declval<T>()))>;

/// Runs the function on each; one that throws does not keep the others from running.
template <bool star, typename F, typename T, typename NextItem>
auto run_each(F& function, Items<T>& items, NextItem&& next_item) {
  using R = ItemResult<star, F, T>;
  Outcomes<R> outcomes;
  outcomes.values.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    try {
      if constexpr (std::is_void_v<R>) {
        invoke_item<star>(function, std::move(items[i]));
        outcomes.values.emplace_back();
      } else {
        outcomes.values.push_back(invoke_item<star>(function, std::move(items[i])));
      }
    } catch (...) {
      outcomes.failures.emplace_back(i, std::current_exception());
      outcomes.values.emplace_back();
    }
    next_item(i + 1);
  }
  return outcomes;
}

}  // namespace kin::detail
