// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/exposed.hpp>
#include <kin/detail/exposed_ready.hpp>
#include <kin/detail/hosted.hpp>
#include <kin/manager.hpp>
#include <kin/proxy.hpp>

namespace kin {

/// For expose(): that other programs may make a T of arguments of these types.
template <typename... Arguments>
inline constexpr detail::Constructor<Arguments...> constructor{};

/// Lets other programs, which reach a manager by its address, make and call objects of a type. Both programs
/// say the same, in a header that they share, or before the manager is made and connect() is called:
///
///     // account.hpp
///     class Account { … };
///     inline const bool account_is_exposed =
///         kin::expose<Account, kin::constructor<int>, &Account::deposit, &Account::balance>();
///     inline const bool stock_is_exposed = kin::expose<kin::managed::Dict<std::string, int>>();
///
/// Of a class: only the constructors, member functions, and functions with the object as their first parameter
/// that are named. Of a ready type, as managed::Dict: all of its functions but those that take a function
/// (modify(), apply()), since code does not travel to another program.
///
/// A call is known by the names of its class and function and the types of its parameters; where the two
/// programs tell different things under one name, arguments that don't fit are a SerializationError, and others
/// are taken for what they are not.
/// Of any other type that travels, without `calls`: that it can be found by its name, see Manager::publish().
/// Python: BaseManager.register().
template <typename T, auto... calls>
bool expose() {
  if constexpr (detail::IsReady<T>) {
    static_assert(sizeof...(calls) == 0, "kin: a ready type's functions are exposed all at once");
    detail::expose_ready<T>();
    detail::expose_name<T>();
  } else if constexpr (sizeof...(calls) == 0) {
    detail::require_sendable<T>();
    detail::require_no_address<T>();
    detail::expose_name<T>();
  } else {
    (detail::expose_call<T, calls>(), ...);
    detail::expose_name<Proxy<T>>();
  }
  return true;
}

}  // namespace kin
