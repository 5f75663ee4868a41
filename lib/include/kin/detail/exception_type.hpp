// SPDX-License-Identifier: BSL-1.0
#pragma once

// How exceptions of one type are written into a message and made anew. The library has a table of
// these functions, in wire/exception_types.cpp: its own, and those of register_exception().

#include <kin/detail/export.hpp>
#include <kin/detail/save_load.hpp>
#include <kin/detail/sendable.hpp>
#include <kin/serialize.hpp>

#include <concepts>
#include <exception>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace kin::detail {

// In archive.hpp, which may be on its way here.
template <Sendable T>
void encode(OutArchive& out, const T& value);
template <Sendable T>
T decode_next(InArchive& in);

template <typename T>
concept HasTextConstructor =
    std::derived_from<T, std::exception> &&
    (std::constructible_from<T, const std::string&> || std::constructible_from<T, const char*>);

/// Without members: there is nothing but the table of virtual functions.
template <typename T>
concept HasOnlyName = std::derived_from<T, std::exception> && std::default_initializable<T> &&
                      sizeof(T) == sizeof(std::exception);

/// Travels as a value.
template <typename T>
struct ByArchive {
  static void save(OutArchive& out, const T& error) { encode(out, error); }
  static T load(InArchive& in) { return decode_next<T>(in); }
};

/// Is constructed from what its what() says.
template <typename T>
struct ByText {
  static void save(OutArchive& out, const T& error) { encode(out, std::string(error.what())); }
  static T load(InArchive& in) {
    const auto text = decode_next<std::string>(in);
    if constexpr (std::constructible_from<T, const std::string&>) {
      return T(text);
    } else {
      return T(text.c_str());
    }
  }
};

/// Is constructed so, and filled by its serialize(), which has no way to a text in a base class.
template <typename T>
struct ByTextAndArchive {
  static void save(OutArchive& out, const T& error) {
    ByText<T>::save(out, error);
    detail::save(out, error);
  }
  static T load(InArchive& in) {
    T error = ByText<T>::load(in);
    detail::load(in, error);
    return error;
  }
};

/// Says all by its type.
template <typename T>
struct ByName {
  static void save(OutArchive& /*out*/, const T& /*error*/) {}
  static T load(InArchive& /*in*/) { return T(); }
};

struct ExceptionType {
  const std::type_info* type;
  /// Writes the exception, which is of the type. Throws it if it is not.
  void (*save)(OutArchive& out, const std::exception_ptr& exception);
  /// Makes it anew, with `cause`, if there is one, nested in it.
  std::exception_ptr (*load)(InArchive& in, const std::exception_ptr& cause);
};

template <typename T, typename Way>
void save_exception(OutArchive& out, const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const T& error) {
    Way::save(out, error);
  }
}

template <typename T, typename Way>
std::exception_ptr load_exception(InArchive& in, const std::exception_ptr& cause) {
  if (!cause) return std::make_exception_ptr(Way::load(in));
  try {
    std::rethrow_exception(cause);
  } catch (...) {
    // In here, as a class that is a std::nested_exception itself takes what is being handled.
    T error = Way::load(in);
    try {
      std::throw_with_nested(std::move(error));
    } catch (...) {
      return std::current_exception();
    }
  }
}

template <typename T, typename Way>
constexpr ExceptionType exception_type() {
  return {&typeid(T), save_exception<T, Way>, load_exception<T, Way>};
}

KIN_EXPORT void add_exception_type(const ExceptionType& type);

}  // namespace kin::detail

namespace kin {

template <typename T>
void register_exception() {
  static_assert(std::is_same_v<T, std::decay_t<T>>, "kin: an exception is registered by its type");
  using detail::exception_type;
  if constexpr (detail::HasSerialize<T> && detail::HasTextConstructor<T>) {
    detail::add_exception_type(exception_type<T, detail::ByTextAndArchive<T>>());
  } else if constexpr (Sendable<T>) {
    detail::add_exception_type(exception_type<T, detail::ByArchive<T>>());
  } else if constexpr (detail::HasSerialize<T>) {
    detail::require_sendable<T>();  // its members are not to be dropped
  } else if constexpr (detail::HasTextConstructor<T>) {
    detail::add_exception_type(exception_type<T, detail::ByText<T>>());
  } else {
    static_assert(detail::HasOnlyName<T>,
                  "kin: this exception can't travel: give it a serialize, or derive it from "
                  "std::exception with a constructor from const std::string&");
    if constexpr (detail::HasOnlyName<T>) {
      detail::add_exception_type(exception_type<T, detail::ByName<T>>());
    }
  }
}

}  // namespace kin

#include <kin/detail/archive.hpp>
