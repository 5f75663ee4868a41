// SPDX-License-Identifier: BSL-1.0
#pragma once

// A function and its arguments as the bytes of one message, and what it returns as those of another.
// Where all parts are plain these are their bytes one behind the other, and no archive is made.

#include <kin/detail/archive.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/codec.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kin::detail {

/// Whatever is plain, read from where it need not be aligned, and made without a default constructor.
/// Throws: SerializationError for a bool that is neither true nor false.
template <typename T>
T from_bytes(const std::byte* from) {
  // Written by the next line. NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
  std::array<std::byte, sizeof(T)> bytes;
  std::memcpy(bytes.data(), from, sizeof(T));
  if constexpr (std::same_as<T, bool>) {
    if (bytes[0] > std::byte{1}) InArchive::complain("a bool is neither true nor false");
    return bytes[0] != std::byte{};
  } else {
    T value = std::bit_cast<T>(bytes);
    if constexpr (!Address<T>) check_bools(value);
    return value;
  }
}

template <typename F>
inline constexpr std::size_t function_size = form_of<F>() == FunctionForm::nothing ? 0 : sizeof(F);

/// A call of an F with arguments that travel as As.
template <typename F, typename... As>
struct CallBytes {
  static constexpr bool is_plain = is_bytes_only<F> && (Plain<As> && ...);
  static constexpr std::size_t plain_size = function_size<F> + (sizeof(As) + ... + 0);

  /// Of a plain one: all of its bytes.
  static void write(std::byte* to, const F& function, const As&... arguments) {
    append<function_size<F>>(to, function);
    (append<sizeof(As)>(to, arguments), ...);
  }
  /// Of any other. What is written lives until the message is sent: of a descriptor the archive knows the
  /// number only.
  static void write(OutArchive& out, const F& function, const As&... arguments) {
    save_function(out, function);
    (encode<As>(out, arguments), ...);
  }

  struct Parts {
    F function;
    std::tuple<As...> arguments;
  };
  static Parts read(const std::byte* from) {
    F function = take<F, function_size<F>>(from);
    return {std::move(function), std::tuple<As...>{take<As, sizeof(As)>(from)...}};
  }
  /// Of one that another program makes the function is this program's own: it has exposed it.
  static Parts read(InArchive& in, bool is_from_stranger = false) {
    if (is_from_stranger && form_of<F>() != FunctionForm::address) in.distrust();
    F function = load_function<F>(in);
    if (is_from_stranger) in.distrust();
    Parts parts{std::move(function), std::tuple<As...>{decode_next<As>(in)...}};
    in.finish();
    return parts;
  }

 private:
  template <std::size_t size, typename T>
  static void append(std::byte*& to, const T& value) {
    if constexpr (size != 0) std::memcpy(to, std::addressof(value), size);
    to += size;
  }
  template <typename T, std::size_t size>
  static T take(const std::byte*& from) {
    if constexpr (size == 0) {
      return std::bit_cast<T>(std::array<std::byte, sizeof(T)>{});
    } else {
      return from_bytes<T>(std::exchange(from, from + size));
    }
  }
};

/// What a call returns, as a value of its own.
template <typename F, typename... Arguments>
using ResultOf = std::decay_t<std::invoke_result_t<F&, Arguments...>>;

/// A result to the context of its call, which has begin_giving() and give(bytes, cargo).
template <typename R, typename Context>
void give_value(Context& context, const R& result) {
  context.begin_giving();
  if constexpr (Plain<R>) {
    context.give(std::as_bytes(std::span(std::addressof(result), 1)), {});
  } else {
    const BorrowedBuffers buffers;
    encode(buffers->out, result);
    context.give(buffers->out.bytes(), buffers->out.cargo());
  }
}

/// The same for what `call` returns, which is run.
template <typename R, typename Context, typename Call>
void give_result(Context& context, Call&& call) {
  if constexpr (std::is_void_v<R>) {
    std::forward<Call>(call)();
    context.begin_giving();
    context.give({}, {});
  } else {
    const R result = std::forward<Call>(call)();
    give_value<R>(context, result);
  }
}

}  // namespace kin::detail
