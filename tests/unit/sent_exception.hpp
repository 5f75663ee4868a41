// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "wire/exception.hpp"

#include <kin/error.hpp>
#include <kin/serialize.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

namespace unit {

/// An exception as it travels.
using Bytes = std::vector<std::byte>;

inline Bytes encoded(const std::exception_ptr& exception) {
  kin::detail::OutArchive out;
  kin::detail::encode_exception(out, exception);
  return {out.bytes().begin(), out.bytes().end()};
}

inline std::exception_ptr decoded(const Bytes& bytes) {
  kin::detail::InArchive in(bytes);
  std::exception_ptr exception = kin::detail::decode_exception(in);
  in.finish();
  return exception;
}

/// As another process would get it.
inline std::exception_ptr sent(const std::exception_ptr& exception) {
  return decoded(encoded(exception));
}

template <typename Action>
std::exception_ptr thrown_by(Action action) {
  try {
    action();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

/// The exception as a T, if it is caught as one. A copy: what is nested in it is asked for elsewhere.
template <typename T>
std::optional<T> caught_as(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const T& error) {
    return error;
  } catch (...) {
    return std::nullopt;
  }
}

inline std::exception_ptr nested_in(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::nested_exception& error) {
    return error.nested_ptr();
  } catch (...) {
    return nullptr;
  }
}

inline std::optional<kin::RemoteError> remote_in(const std::exception_ptr& exception) {
  const std::exception_ptr nested = nested_in(exception);
  return nested ? caught_as<kin::RemoteError>(nested) : std::nullopt;
}

template <typename T>
std::string what_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const T& error) {
    return error.what();
  } catch (...) {
    return "it is of another type";
  }
}

/// It arrives as a T, with the RemoteError nested in it; and so again if it is passed on.
template <typename T>
T check_arrives(const T& error, const std::string& type_name) {
  CAPTURE(type_name);
  const std::exception_ptr arrived = sent(std::make_exception_ptr(error));
  CHECK(what_of<T>(arrived) == error.what());
  const auto remote = remote_in(arrived);
  REQUIRE(remote.has_value());
  CHECK(remote->type_name() == type_name);
  CHECK(remote->message() == error.what());
  CHECK(remote->pid() == ::getpid());
  // and once more, as if another process passed it on
  const std::exception_ptr again = sent(arrived);
  CHECK(what_of<T>(again) == error.what());
  CHECK(remote_in(again).has_value());
  CHECK(remote_in(nested_in(again)).has_value());
  return caught_as<T>(arrived).value();
}

}  // namespace unit
