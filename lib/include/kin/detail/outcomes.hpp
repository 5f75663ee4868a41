// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/task.hpp>

#include <boost/container/vector.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace kin::detail {

/// Really a T each, as std::vector<bool> is not; aligned as it has to be, as Boost's own allocator does not.
template <typename T>
using Items = boost::container::vector<T, std::allocator<T>>;

/// Void as a value.
template <typename R>
using ValueOf = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// By rising place.
using Failures = std::vector<std::pair<std::size_t, std::exception_ptr>>;

/// What the items of a chunk came to: a value each, or an exception at its place.
template <typename R>
struct Outcomes {
  Items<ValueOf<R>> values;
  Failures failures;
};

/// The same for who takes them one by one. Values that are plain stay where the worker wrote them, as long
/// as this names the chunk.
template <typename R>
class TakenOutcomes {
 public:
  using Value = ValueOf<R>;

  TakenOutcomes() = default;
  explicit TakenOutcomes(Outcomes<R> own) noexcept
      : own_(std::move(own)), values_(own_.values.data(), own_.values.size()) {}
  TakenOutcomes(TaskRef chunk, std::span<Value> values) noexcept
      : chunk_(std::move(chunk)), values_(values) {}
  /// Of a chunk that came to one exception.
  explicit TakenOutcomes(std::exception_ptr failure) : TakenOutcomes(one_failure(failure)) {}

  [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }
  /// Throws what the item threw.
  [[nodiscard]] Value& at(std::size_t place) const {
    if (!own_.failures.empty()) throw_if_failed(place);
    return values_[place];
  }

 private:
  static Outcomes<R> one_failure(const std::exception_ptr& failure) {
    Outcomes<R> outcomes;
    outcomes.failures.emplace_back(0, failure);
    outcomes.values.emplace_back();
    return outcomes;
  }
  void throw_if_failed(std::size_t place) const {
    for (const auto& [failed, exception] : own_.failures) {
      if (failed == place) std::rethrow_exception(exception);
    }
  }

  Outcomes<R> own_;
  TaskRef chunk_;
  std::span<Value> values_;  // own_'s, or in the chunk's result
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
