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

template <typename Signature, std::size_t room = 2 * sizeof(void*)>
class Callback;

/// Owns something callable that may be move-only; std::move_only_function of C++23. What is no larger than
/// `room` has its place in here.
template <typename Result, typename... Arguments, std::size_t room>
class Callback<Result(Arguments...), room> {
 public:
  Callback() noexcept = default;  // NOLINT(cppcoreguidelines-pro-type-member-init): it is empty
  Callback(std::nullptr_t) noexcept {}  // NOLINT: converts, as std::function does

  template <typename Callable>
    requires(!std::is_same_v<std::remove_cvref_t<Callable>, Callback> &&
             std::is_invocable_r_v<Result, std::decay_t<Callable>&, Arguments...>)
  Callback(Callable&& callable)  // NOLINT: converts
      : actions_(&Of<std::decay_t<Callable>>::actions) {
    using Its = Of<std::decay_t<Callable>>;
    // Its whole place is copied when it moves.
    if constexpr (Its::is_bytes && sizeof(typename Its::Held) < room) place_.fill({});
    Its::make(place_.data(), std::forward<Callable>(callable));
  }
  Callback(Callback&& other) noexcept { take(other); }
  Callback& operator=(Callback&& other) noexcept {
    if (this == &other) return *this;
    clear();
    take(other);
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
    void (*move)(std::byte* from, std::byte* to) noexcept;  // null: its bytes are all of it
    void (*destroy)(std::byte* place) noexcept;             // null: there is nothing to do
  };

  // How one type of callable is held.
  template <typename Callable>
  struct Of {
    static constexpr bool fits = sizeof(Callable) <= room && alignof(Callable) <= alignof(void*) &&
                                 std::is_nothrow_move_constructible_v<Callable>;
    using Held = std::conditional_t<fits, Callable, std::unique_ptr<Callable>>;
    static constexpr bool is_bytes = std::is_trivially_copyable_v<Held>;

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

    static constexpr Actions actions{call, is_bytes ? nullptr : move, is_bytes ? nullptr : destroy};
  };

  void take(Callback& other) noexcept {
    actions_ = std::exchange(other.actions_, nullptr);
    if (actions_ == nullptr) return;
    if (actions_->move == nullptr) {
      place_ = other.place_;
    } else {
      actions_->move(other.place_.data(), place_.data());
    }
  }
  void clear() noexcept {
    if (actions_ == nullptr) return;
    const Actions& actions = *std::exchange(actions_, nullptr);
    if (actions.destroy != nullptr) actions.destroy(place_.data());
  }

  const Actions* actions_ = nullptr;
  alignas(void*) std::array<std::byte, room> place_;
};

}  // namespace kin::detail
