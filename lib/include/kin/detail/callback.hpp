// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace kin::detail {

template <typename Signature>
class Callback;

/// Owns something callable that may be move-only; std::move_only_function of C++23. What is no larger than
/// two pointers has its place in here.
template <typename Result, typename... Arguments>
class Callback<Result(Arguments...)> {
 public:
  Callback() noexcept = default;
  Callback(std::nullptr_t) noexcept {}  // NOLINT: converts, as std::function does

  template <typename Callable>
    requires(!std::is_same_v<std::remove_cvref_t<Callable>, Callback> &&
             std::is_invocable_r_v<Result, std::decay_t<Callable>&, Arguments...>)
  Callback(Callable&& callable)  // NOLINT: converts
      : actions_(&Of<std::decay_t<Callable>>::actions) {
    Of<std::decay_t<Callable>>::make(place_.data(), std::forward<Callable>(callable));
  }
  Callback(Callback&& other) noexcept : actions_(std::exchange(other.actions_, nullptr)) {
    if (actions_ != nullptr) actions_->move(other.place_.data(), place_.data());
  }
  Callback& operator=(Callback&& other) noexcept {
    if (this == &other) return *this;
    clear();
    actions_ = std::exchange(other.actions_, nullptr);
    if (actions_ != nullptr) actions_->move(other.place_.data(), place_.data());
    return *this;
  }
  Callback(const Callback&) = delete;
  Callback& operator=(const Callback&) = delete;
  ~Callback() { clear(); }

  [[nodiscard]] explicit operator bool() const noexcept { return actions_ != nullptr; }
  Result operator()(Arguments... arguments) {
    return actions_->call(place_.data(), std::forward<Arguments>(arguments)...);
  }

 private:
  struct Actions {
    Result (*call)(std::byte* place, Arguments&&... arguments);
    void (*move)(std::byte* from, std::byte* to) noexcept;
    void (*destroy)(std::byte* place) noexcept;
  };
  static constexpr std::size_t room = 2 * sizeof(void*);

  // How one type of callable is held.
  template <typename Callable>
  struct Of {
    static constexpr bool fits = sizeof(Callable) <= room && alignof(Callable) <= alignof(void*) &&
                                 std::is_nothrow_move_constructible_v<Callable>;
    using Held = std::conditional_t<fits, Callable, std::unique_ptr<Callable>>;

    template <typename C>
    static void make(std::byte* place, C&& callable) {
      if constexpr (fits) {
        ::new (place) Held(std::forward<C>(callable));
      } else {
        ::new (place) Held(std::make_unique<Callable>(std::forward<C>(callable)));
      }
    }
    static Held& held(std::byte* place) noexcept {
      return *std::launder(reinterpret_cast<Held*>(place));
    }
    static Result call(std::byte* place, Arguments&&... arguments) {
      const auto callable = [place]() -> Callable& {
        if constexpr (fits) {
          return held(place);
        } else {
          return *held(place);
        }
      };
      if constexpr (std::is_void_v<Result>) {
        static_cast<void>(std::invoke(callable(), std::forward<Arguments>(arguments)...));
      } else {
        return std::invoke(callable(), std::forward<Arguments>(arguments)...);
      }
    }
    static void move(std::byte* from, std::byte* to) noexcept {
      ::new (to) Held(std::move(held(from)));
      std::destroy_at(&held(from));
    }
    static void destroy(std::byte* place) noexcept { std::destroy_at(&held(place)); }

    static constexpr Actions actions{call, move, destroy};
  };

  void clear() noexcept {
    if (actions_ != nullptr) std::exchange(actions_, nullptr)->destroy(place_.data());
  }

  const Actions* actions_ = nullptr;
  alignas(void*) std::array<std::byte, room> place_;
};

}  // namespace kin::detail
