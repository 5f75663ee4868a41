// SPDX-License-Identifier: BSL-1.0
#pragma once

// Calls that another program may make of a manager's objects. What comes from there is a number, never an
// address: of a call that both programs have compiled, and whose type's name is the same in both.

#include <kin/detail/call_bytes.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/hosted.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace kin::detail {

/// A call that another program may make.
struct ExposedCall {
  HostedCode code;
  std::uint64_t type;          // of the object, see type_number()
  const std::type_info* call;  // by whose name it is known
  const std::type_info*
      function;  // and by this one's, if it is not void: one of several functions of a type
  std::array<std::byte, 16>
      which;  // what a message has in front of its arguments: the function's address
  std::size_t which_size;
  bool is_own;  // a ready proxy's: only if that was exposed, see expose_type()
};

/// Of this program. Again: nothing.
KIN_EXPORT void add_exposed(const ExposedCall& call);
/// Lets the calls of ready proxies that were added for objects of this type be made.
KIN_EXPORT void expose_type(std::uint64_t type);

/// To be named where a ready proxy's own function makes its call: so the compiler knows, wherever it compiles
/// that function, which call it is.
template <typename Call, typename T>
inline const bool own_call_is_added = [] {
  add_exposed({.code = Call::run,
               .type = type_number(typeid(T)),
               .call = &typeid(Call),
               .function = &typeid(void),
               .which = {},
               .which_size = 0,
               .is_own = true});
  return true;
}();

/// A member as a function without an address.
template <auto pointer>
struct Method {
  template <typename T, typename... As>
  decltype(auto) operator()(T& object, As&&... arguments) const {
    return std::invoke(pointer, object, std::forward<As>(arguments)...);
  }
};
template <auto pointer>
inline constexpr Method<pointer> method{};

// ---- as what the arguments of functions that have an address travel

template <typename... Ps>
struct Parameters {};

/// Behind the object, if a pointer tells.
template <typename F>
struct ParametersOf;
// clang-format off
template <typename R, typename C, typename... Ps> struct ParametersOf<R (C::*)(Ps...)> { using Type = Parameters<Ps...>; };
template <typename R, typename C, typename... Ps> struct ParametersOf<R (C::*)(Ps...) const> { using Type = Parameters<Ps...>; };
template <typename R, typename C, typename... Ps> struct ParametersOf<R (C::*)(Ps...) noexcept> { using Type = Parameters<Ps...>; };
template <typename R, typename C, typename... Ps> struct ParametersOf<R (C::*)(Ps...) const noexcept> { using Type = Parameters<Ps...>; };
template <typename R, typename T, typename... Ps> struct ParametersOf<R (*)(T, Ps...)> { using Type = Parameters<Ps...>; };
template <typename R, typename T, typename... Ps> struct ParametersOf<R (*)(T, Ps...) noexcept> { using Type = Parameters<Ps...>; };
// clang-format on

/// What the function takes, where that is a value of its own that can be made of what was given.
template <typename P, typename A>
struct Parameter {
  static constexpr bool is_value =
      !std::is_lvalue_reference_v<P> || std::is_const_v<std::remove_reference_t<P>>;
  using Type = std::conditional_t<is_value && std::is_convertible_v<A, ArgumentOf<P>>,
                                  ArgumentOf<P>, ArgumentOf<A>>;
};

/// Calls `call.operator()<As...>()` with the types that arguments of a call of an F travel as. So that
/// deposit(5) and deposit(5L) are the same call.
template <typename F, typename... Given, typename Call>
auto with_parameters(Call&& call) {
  if constexpr (requires { typename ParametersOf<F>::Type; }) {
    return [&]<typename... Ps>(Parameters<Ps...>*) {
      if constexpr (sizeof...(Ps) == sizeof...(Given)) {
        return call.template operator()<typename Parameter<Ps, Given>::Type...>();
      } else {
        return call.template operator()<ArgumentOf<Given>...>();
      }
    }(static_cast<typename ParametersOf<F>::Type*>(nullptr));
  } else {
    return call.template operator()<ArgumentOf<Given>...>();
  }
}

}  // namespace kin::detail
