// SPDX-License-Identifier: BSL-1.0
#pragma once

// Which functions may be called by another process, in which form they travel, and as what their
// arguments do. All kin run one program image: code has the same address in each of them, so what
// has to travel is what a function holds.

#include <kin/serialize.hpp>

#include <concepts>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>

namespace kin::detail {

namespace probe {

struct Callable {
  void operator()();
};

template <typename T>
struct BothCallable : T, Callable {};

// As has_member(): overloads and templates are found as well. Who may not be derived from is
// believed: a call of it shows.
template <typename T>
consteval bool has_call_operator() {
  if constexpr (!std::is_class_v<T>) {
    return false;
  } else if constexpr (std::is_final_v<T>) {
    return true;
  } else {
    return !requires { &BothCallable<T>::operator(); };
  }
}

}  // namespace probe

/// In which form a function travels.
enum class FunctionForm {
  none,     // not at all
  address,  // pointers to functions and members
  nothing,  // lambdas without captures: the type is all
  bytes,    // plain classes, and closures whose captures are trivially copyable
  archive   // through the archive: sendable classes, kin::partial
};

template <typename T>
concept HidesWhatItHolds =
    is_std_function<T> || is_reference_wrapper<T> || std::is_bind_expression_v<T>;

// NOLINTBEGIN(bugprone-branch-clone): the order decides

template <typename F>
consteval FunctionForm form_of() {
  if constexpr (Address<F>) {
    return FunctionForm::address;
  } else if constexpr (!probe::has_call_operator<F>() || HidesWhatItHolds<F>) {
    return FunctionForm::none;
  } else if constexpr (Parts<F>::known || HasSerialize<F> || is_sendable<F>) {
    return Sendable<F> ? FunctionForm::archive : FunctionForm::none;
  } else if constexpr (std::is_trivially_copyable_v<F>) {
    return std::is_empty_v<F> ? FunctionForm::nothing : FunctionForm::bytes;
  } else {
    return Sendable<F> ? FunctionForm::archive : FunctionForm::none;
  }
}

// NOLINTEND(bugprone-branch-clone)

/// A function that another process can call. F is decayed.
template <typename F>
concept PortableFunction = form_of<F>() != FunctionForm::none;

/// It travels by memcpy of sizeof(F) bytes, or of none: no archive is needed.
template <typename F>
inline constexpr bool is_bytes_only =
    form_of<F>() == FunctionForm::address || form_of<F>() == FunctionForm::nothing ||
    form_of<F>() == FunctionForm::bytes;

/// Its bytes may hold an address of the sender's memory: check_function() looks.
template <typename F>
inline constexpr bool may_hold_address =
    form_of<F>() == FunctionForm::bytes && !Plain<F> && alignof(F) >= alignof(void*);

/// The one readable error for everything that sends a function, as require_sendable().
template <typename F>
consteval void require_portable_function() {
  constexpr bool is_callable = Address<F> || probe::has_call_operator<F>();
  constexpr bool says_how = !HidesWhatItHolds<F> && HasSerialize<F>;
  static_assert(is_callable,
                "kin: this is no function: give a function, a member pointer, a lambda or a class "
                "with operator()");
  if constexpr (is_callable && says_how) {
    require_sendable<F>();
  } else if constexpr (is_callable) {
    static_assert(PortableFunction<F>,
                  "kin: this function can't travel to another process: it captured something that "
                  "is more than its bytes (a std::string, a container, a kin::Queue), or hides "
                  "what it holds (std::function, std::bind, std::ref); bind values with "
                  "kin::partial(function, value...) instead, or write a class with operator() and "
                  "a Boost serialize()");
  }
}

// --- arguments

template <typename T>
concept Character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
                    std::same_as<T, char16_t> || std::same_as<T, char32_t>;

template <typename T>
struct Argument {
  using Type = T;
};

// clang-format off
template <typename T> requires std::is_function_v<T> struct Argument<T> { using Type = T*; };
template <Character C> struct Argument<C*> { using Type = std::basic_string<C>; };
template <Character C> struct Argument<const C*> { using Type = std::basic_string<C>; };
template <Character C, std::size_t size>
struct Argument<C[size]> { using Type = std::basic_string<C>; };
template <Character C, typename Traits>
struct Argument<std::basic_string_view<C, Traits>> { using Type = std::basic_string<C>; };
// clang-format on

/// As what an argument of type T travels: without references; literals, `const char*` and
/// string_view as strings. An ArgumentOf<T> is constructible from a T.
template <typename T>
using ArgumentOf = typename Argument<std::remove_cvref_t<T>>::Type;

/// The one readable error for an argument that can't travel.
template <typename T>
consteval void require_argument() {
  require_sendable<ArgumentOf<T>>();
}

}  // namespace kin::detail

#include <kin/detail/partial.hpp>
