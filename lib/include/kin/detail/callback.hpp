// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace kin::detail {

template <typename Signature>
class Callback;

/// Owns something callable that may be move-only; std::move_only_function of C++23.
template <typename Result, typename... Arguments>
class Callback<Result(Arguments...)> {
 public:
  Callback() noexcept = default;
  Callback(std::nullptr_t) noexcept {}  // NOLINT: converts, as std::function does

  template <typename Callable>
    requires(!std::is_same_v<std::remove_cvref_t<Callable>, Callback> &&
             std::is_invocable_r_v<Result, std::decay_t<Callable>&, Arguments...>)
  Callback(Callable&& callable)  // NOLINT: converts
      : target_(
            std::make_unique<Holder<std::decay_t<Callable>>>(std::forward<Callable>(callable))) {}

  [[nodiscard]] explicit operator bool() const noexcept { return target_ != nullptr; }
  Result operator()(Arguments... arguments) {
    return target_->call(std::forward<Arguments>(arguments)...);
  }

 private:
  struct Target {
    Target() = default;
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    virtual ~Target() = default;
    virtual Result call(Arguments... arguments) = 0;
  };

  template <typename Callable>
  struct Holder final : Target {
    template <typename C>
    explicit Holder(C&& c) : callable(std::forward<C>(c)) {}
    Result call(Arguments... arguments) override {
      if constexpr (std::is_void_v<Result>) {
        static_cast<void>(std::invoke(callable, std::forward<Arguments>(arguments)...));
      } else {
        return std::invoke(callable, std::forward<Arguments>(arguments)...);
      }
    }
    Callable callable;
  };

  std::unique_ptr<Target> target_;
};

}  // namespace kin::detail
