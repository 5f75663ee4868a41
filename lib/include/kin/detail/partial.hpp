// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/portable.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kin {

namespace detail {

/// A function that can be made first and filled then: closures have no default constructor.
template <typename F>
class FunctionBox {
 public:
  FunctionBox() = default;
  template <typename Given>
  explicit FunctionBox(std::in_place_t /*tag*/, Given&& function)
      : function_(std::forward<Given>(function)) {}
  [[nodiscard]] const F& get() const noexcept { return function_; }
  [[nodiscard]] F& get() noexcept { return function_; }

 private:
  F function_{};
};

template <typename F>
  requires(!std::default_initializable<F>)
class FunctionBox<F> {
 public:
  FunctionBox() = default;
  explicit FunctionBox(std::in_place_t /*tag*/, const F& function) {
    std::memcpy(bytes_.data(), std::addressof(function), sizeof(F));
  }
  // A closure that is trivially copyable begins to exist where its bytes are copied to.
  [[nodiscard]] const F& get() const noexcept {
    return *std::launder(reinterpret_cast<const F*>(bytes_.data()));
  }
  [[nodiscard]] F& get() noexcept { return *std::launder(reinterpret_cast<F*>(bytes_.data())); }

 private:
  static_assert(std::is_trivially_copyable_v<F>);
  alignas(F) std::array<std::byte, sizeof(F)> bytes_{};
};

// What a function takes, if it has one signature.
template <typename R, bool quiet, typename... P>
TypeList<P...> parameters_of(R (*)(P...) noexcept(quiet));
template <typename R, typename C, bool quiet, typename... P>
TypeList<P...> parameters_of(R (C::*)(P...) noexcept(quiet));
template <typename R, typename C, bool quiet, typename... P>
TypeList<P...> parameters_of(R (C::*)(P...) const noexcept(quiet));

template <typename F, typename... States, typename... P>
consteval bool accepts(TypeList<P...>) {
  if constexpr (sizeof...(States) > sizeof...(P)) {
    return false;
  } else {
    using Tuple = std::tuple<P...>;
    return []<std::size_t... n>(std::index_sequence<n...>) {
      return std::is_invocable_v<const F&, const States&...,
                                 std::tuple_element_t<sizeof...(States) + n, Tuple>...>;
    }(std::make_index_sequence<sizeof...(P) - sizeof...(States)>{});
  }
}

/// False where it is certain that no call can succeed. Overloads and templates are believed.
template <typename F, typename... States>
consteval bool may_bind() {
  if constexpr (requires { parameters_of(&F::operator()); }) {
    return accepts<F, States...>(decltype(parameters_of(&F::operator())){});
  } else if constexpr (!std::is_member_pointer_v<F> &&
                       requires(F function) { parameters_of(function); }) {
    return accepts<F, States...>(decltype(parameters_of(std::declval<F>())){});
  } else {
    return true;
  }
}

}  // namespace detail

/// A function with its first arguments, made by partial().
///
/// Sharing: calls are const; it may be sent in a message, and received.
template <typename F, typename... States>
class Partial {
 public:
  /// For what is received. Calling it is undefined unless F and the states have a value by default.
  Partial() = default;
  template <typename Function, typename... Values>
  explicit Partial(std::in_place_t /*tag*/, Function&& function, Values&&... values)
      : function_(std::in_place, std::forward<Function>(function)),
        states_(States(std::forward<Values>(values))...) {}

  template <typename... Arguments>
    requires std::is_invocable_v<const F&, const States&..., Arguments...>
  decltype(auto) operator()(Arguments&&... arguments) const {
    return std::apply(
        [&](const States&... state) -> decltype(auto) {
          return std::invoke(function_.get(), state..., std::forward<Arguments>(arguments)...);
        },
        states_);
  }

  [[nodiscard]] const F& function() const noexcept { return function_.get(); }
  [[nodiscard]] const std::tuple<States...>& states() const noexcept { return states_; }

 private:
  template <typename T>
  friend struct detail::Codec;

  detail::FunctionBox<F> function_;
  std::tuple<States...> states_;
};

/// Binds the first arguments of a function by value.
///
///     void greet(kin::Queue<std::string> queue, const std::string& word, const std::string& name) {
///       queue.put(word + ", " + name);
///     }
///     auto hello = kin::partial(greet, queue, "hello");
///     hello("Ada");  // greet(queue, "hello", "Ada"), here or in another process
///
/// A lambda with captures hides what they are, unless they are trivially copyable; a partial knows,
/// and so may hold whatever may be sent: strings, containers, queues, locks, other partials. Literals,
/// `const char*` and string_view are bound as strings.
///
/// The function is one that may travel: a function, a member pointer, a lambda whose captures are
/// trivially copyable (or none), a sendable class with operator(), another partial. It sees what is
/// bound as constants: by value or as const T&, never as T&. What it changed there would be a copy.
///
/// Copyable if what it binds is.
/// Throws: what copying or moving the values throws. Sending one whose function captured an address of
/// this process's own memory is std::invalid_argument.
/// Python: functools.partial, without keywords.
template <typename F, typename... States>
[[nodiscard]] auto partial(F&& function, States&&... states) {
  using Function = std::decay_t<F>;
  detail::require_portable_function<Function>();
  (detail::require_argument<States>(), ...);
  static_assert(detail::may_bind<Function, detail::ArgumentOf<States>...>(),
                "kin: kin::partial can't call this function with these values: it passes them as "
                "constants, so a parameter must not be a T& (nor a const char*: text is bound as a "
                "std::string), and there can be no more values than parameters");
  return Partial<Function, detail::ArgumentOf<States>...>(std::in_place, std::forward<F>(function),
                                                          std::forward<States>(states)...);
}

namespace detail {

template <typename T>
inline constexpr bool is_partial = false;
template <typename F, typename... States>
inline constexpr bool is_partial<Partial<F, States...>> = true;

// What may be its function was decided by partial().
template <typename F, typename... States>
struct Parts<Partial<F, States...>> : MadeOf<States...> {};

// --- addresses of code, which mean nothing in another program, and must not be believed when they come from one

template <typename T, typename... Outer>
consteval bool holds_address();

template <typename... Outer, typename... Part>
consteval bool any_holds_address(TypeList<Part...> /*parts*/) {
  return (holds_address<Part, Outer...>() || ...);
}
template <typename... Outer, typename... T, bool... referable>
consteval bool any_holds_address(TypeList<Member<T, referable>...> /*members*/) {
  return (holds_address<T, Outer...>() || ...);
}

// What a closure captured is hidden: of one whose bytes have room for an address it is taken for granted.
template <typename F, typename... Outer>
consteval bool function_holds_address() {
  if constexpr (form_of<F>() == FunctionForm::archive) {
    return holds_address<F, Outer...>();
  } else {
    return form_of<F>() == FunctionForm::address || may_hold_address<F>;
  }
}
template <typename... Outer, typename F, typename... States>
consteval bool function_holds_address(const Partial<F, States...>* /*partial*/) {
  return function_holds_address<F, Outer...>();
}

/// Whether there is one in a T, as far as its type tells: what hides behind a serialize(), or in a class that
/// is derived from the one that a pointer names, is looked for when it is read. See InArchive::distrust().
template <typename Qualified, typename... Outer>
consteval bool holds_address() {
  using T = std::remove_cv_t<Qualified>;
  // Asked in this order. NOLINTNEXTLINE(bugprone-branch-clone)
  if constexpr ((std::is_same_v<T, Outer> || ...) || is_sendable<T>) {
    return false;
  } else if constexpr (Address<T>) {
    return true;
  } else if constexpr (std::is_array_v<T>) {
    return holds_address<std::remove_extent_t<T>, Outer...>();
  } else if constexpr (Plain<T>) {
    return false;
  } else if constexpr (is_partial<T>) {
    return function_holds_address<T, Outer...>(static_cast<const T*>(nullptr)) ||
           any_holds_address<T, Outer...>(typename Parts<T>::List{});
  } else if constexpr (Parts<T>::known) {
    return any_holds_address<T, Outer...>(typename Parts<T>::List{});
  } else if constexpr (Pointee<T>::known) {
    return holds_address<typename Pointee<T>::Type, T, Outer...>();
  } else if constexpr (!HasSerialize<T> && KnownMembers<T>) {
    return any_holds_address<T, Outer...>(MembersOf<T>{});
  } else {
    return false;
  }
}

}  // namespace detail

}  // namespace kin

#include <kin/detail/exception_type.hpp>
