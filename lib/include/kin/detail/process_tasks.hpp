// SPDX-License-Identifier: BSL-1.0
#pragma once

// Calls and chunks of calls as messages to a worker and back. Where all parts are plain a message is
// their bytes one behind the other, and no archive is made.

#include <kin/detail/archive.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/process_engine.hpp>
#include <kin/detail/task_context.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kin::detail {

/// What a call returns, as a value of its own.
template <typename F, typename... Arguments>
using ResultOf = std::decay_t<std::invoke_result_t<F&, Arguments...>>;

/// Whatever is plain, read from where it need not be aligned, and made without a default constructor.
template <typename T>
T from_bytes(const std::byte* from) {
  std::array<std::byte, sizeof(T)> bytes;
  std::memcpy(bytes.data(), from, sizeof(T));
  return std::bit_cast<T>(bytes);
}

template <typename F>
inline constexpr std::size_t function_size = form_of<F>() == FunctionForm::nothing ? 0 : sizeof(F);

/// The result of a call to its context; `call` is run.
template <typename R, typename Call>
void give_result(TaskContext& context, Call&& call) {
  if constexpr (std::is_void_v<R>) {
    std::forward<Call>(call)();
    context.begin_giving();
    context.give({}, {});
  } else if constexpr (Plain<R>) {
    const R result = std::forward<Call>(call)();
    context.begin_giving();
    context.give(std::as_bytes(std::span(std::addressof(result), 1)), {});
  } else {
    const R result = std::forward<Call>(call)();
    context.begin_giving();
    const BorrowedBuffers buffers;
    encode(buffers->out, result);
    context.give(buffers->out.bytes(), buffers->out.cargo());
  }
}

/// One call of an F with arguments that travel as As.
template <typename F, typename... As>
struct CallMessage {
  using Result = ResultOf<F, As...>;
  static constexpr bool is_plain = is_bytes_only<F> && (Plain<As> && ...);

  template <typename... Given>
  static TaskRef hold(ProcessEngine& engine, const TaskLimits& limits, const F& function,
                      Given&&... given) {
    engine.check(function);
    if constexpr (is_plain) {
      std::array<std::byte, function_size<F> + (sizeof(As) + ... + 0)> bytes;
      std::byte* to = bytes.data();
      append<function_size<F>>(to, function);
      (append<sizeof(As)>(to, static_cast<const As&>(given)), ...);
      return engine.hold(run, bytes, {}, limits, typeid(F));
    } else {
      const BorrowedBuffers buffers;
      save_function(buffers->out, function);
      // They live until it is held: of a descriptor the archive knows the number only.
      const auto hold_all = [&](const As&... each) {
        (encode<As>(buffers->out, each), ...);
        return engine.hold(run, buffers->out.bytes(), buffers->out.cargo(), limits, typeid(F));
      };
      return hold_all(As(std::forward<Given>(given))...);
    }
  }

  static void run(TaskContext& context) {
    if constexpr (is_plain) {
      const std::byte* from = context.arguments().data();
      F function = take<F, function_size<F>>(from);
      std::tuple<As...> arguments{take<As, sizeof(As)>(from)...};
      call(context, function, arguments);
    } else {
      IncomingCargo cargo;
      context.claim_cargo(cargo);
      InArchive in(context.arguments(), cargo);
      F function = load_function<F>(in);
      std::tuple<As...> arguments{decode_next<As>(in)...};
      in.finish();
      call(context, function, arguments);
    }
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
  static void call(TaskContext& context, F& function, std::tuple<As...>& arguments) {
    give_result<Result>(context, [&]() -> decltype(auto) {
      return std::apply(
          [&](As&... each) -> decltype(auto) { return std::invoke(function, std::move(each)...); },
          arguments);
    });
  }
};

}  // namespace kin::detail
