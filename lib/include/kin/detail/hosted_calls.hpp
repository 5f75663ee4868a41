// SPDX-License-Identifier: BSL-1.0
#pragma once

// The two kinds of calls of a function on an object in a manager's server, with both of their sides.

#include <kin/detail/archive.hpp>
#include <kin/detail/call_bytes.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/hosted.hpp>
#include <kin/detail/remote_call.hpp>
#include <kin/detail/task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace kin::detail {

/// A call of a function on a hosted T, and of its instances in the server.
template <typename T, typename F, typename... As>
struct CallOnHosted {
  using Bytes = CallBytes<F, As...>;

  /// Calls `send(message, cargo)` with room for the head in front.
  template <typename Send, typename... Given>
  static auto with_message(Send&& send, const F& function, Given&&... given) {
    check_function(function);
    if constexpr (Bytes::is_plain) {
      // Whoever sends it fills the head. NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
      std::array<std::byte, request_head_size + Bytes::plain_size> message;
      Bytes::write(message.data() + request_head_size, function, static_cast<const As&>(given)...);
      return send(std::span<std::byte>(message), OutgoingCargo{});
    } else {
      const BorrowedBuffers buffers;
      const auto send_all = [&](const As&... each) {
        buffers->out.pad_to(request_head_size);
        Bytes::write(buffers->out, function, each...);
        return send(buffers->out.writable_bytes(), buffers->out.cargo());
      };
      return send_all(As(std::forward<Given>(given))...);
    }
  }

  /// In the server.
  static typename Bytes::Parts read(HostedCall& call) {
    const auto check = [&](typename Bytes::Parts parts) {
      if constexpr (form_of<F>() == FunctionForm::address) {
        if (const void* code = code_of(parts.function); code != nullptr) {
          call.check_code(code, typeid(F));
        }
      }
      return parts;
    };
    if constexpr (Bytes::is_plain) {
      if (call.arguments().size() != Bytes::plain_size) InArchive::complain_short();
      return check(Bytes::read(call.arguments().data()));
    } else {
      InArchive in(call.arguments(), call.cargo());
      return check(Bytes::read(in, call.is_from_stranger()));
    }
  }
};

/// A call whose function runs, and is over.
template <typename T, typename F, typename... As>
struct SimpleCall : CallOnHosted<T, F, As...> {
  using Result = std::decay_t<std::invoke_result_t<F&, T&, As...>>;

  static void run(HostedCall& call) {
    auto parts = SimpleCall::read(call);
    give_result<Result>(call, [&]() -> decltype(auto) {
      return std::apply(
          [&](As&... each) -> decltype(auto) {
            return std::invoke(parts.function, call.object<T>(), std::move(each)...);
          },
          parts.arguments);
    });
  }

  template <typename... Given>
  static TaskRef start(const Handle& hosted, const F& function, Given&&... given) {
    return SimpleCall::with_message(
        [&](std::span<std::byte> message, const OutgoingCargo& cargo) {
          return start_call(hosted, run, message, cargo, typeid(F));
        },
        function, std::forward<Given>(given)...);
  }

  template <typename... Given>
  static Result make(Object& hosted, const F& function, Given&&... given) {
    RemoteCall call(hosted, typeid(F));
    SimpleCall::with_message([&](std::span<std::byte> message,
                                 const OutgoingCargo& cargo) { call.make(run, message, cargo); },
                             function, std::forward<Given>(given)...);
    return read_answer<Result>(call);
  }
};

/// A call that waits until it can be answered: its function returns nothing (a false) as long as it can't.
///
/// A class without state, whose function gets the object, the stamp of the process that calls, and the
/// arguments, which it may change: they are there the next time. It may have static members:
/// take_back(object, process, result), or without a result, for what went to a client that died before it
/// had it; withdraw(object, process, arguments...), for a call that was given up; `in_any_case`, for one that no
/// time limit ends. Where it has a type Then, the call goes on as that one, with Then::object(arguments...).
template <typename T, typename F, typename... As>
struct WaitingCall : CallOnHosted<T, F, As...> {
  using Attempted = std::invoke_result_t<F&, T&, std::uint64_t, As&...>;
  static constexpr bool is_void = std::same_as<Attempted, bool>;

  template <typename A>
  struct Value {
    using Type = typename A::value_type;
  };
  template <typename A>
    requires std::same_as<A, bool>
  struct Value<A> {
    using Type = void;
  };
  using Result = typename Value<Attempted>::Type;

  static void run(HostedCall& call) {
    auto parts = WaitingCall::read(call);
    if (attempt(call, parts.arguments)) return;
    const std::uint64_t client = call.client();
    T& object = call.object<T>();
    std::shared_ptr<std::tuple<As...>> arguments;
    try {
      arguments = std::make_shared<std::tuple<As...>>(std::move(parts.arguments));
      call.park([arguments](HostedCall& again) { return attempt(again, *arguments); },
                [&object, client, arguments] { withdraw(object, client, *arguments); });
    } catch (...) {
      // It does not wait: nobody would ever withdraw it.
      withdraw(object, client, arguments ? *arguments : parts.arguments);
      throw;
    }
  }

  /// None, or false, when the time is up.
  template <typename... Given>
  static auto make(Object& hosted, Deadline deadline, const F& function, Given&&... given) {
    RemoteCall call(hosted, typeid(F));
    const bool came = WaitingCall::with_message(
        [&](std::span<std::byte> message, const OutgoingCargo& cargo) {
          if constexpr (requires { F::in_any_case; }) {
            call.make_in_any_case(run, message, cargo);
            return true;
          } else {
            return call.make_until(run, message, cargo, deadline);
          }
        },
        function, std::forward<Given>(given)...);
    if constexpr (is_void) {
      return came;
    } else {
      return came ? std::optional<Result>(read_answer<Result>(call)) : std::optional<Result>();
    }
  }

 private:
  static void withdraw([[maybe_unused]] T& object, [[maybe_unused]] std::uint64_t client,
                       [[maybe_unused]] std::tuple<As...>& arguments) {
    if constexpr (requires(As&... each) { F::withdraw(object, client, each...); }) {
      std::apply([&](As&... each) { F::withdraw(object, client, each...); }, arguments);
    }
  }
  static bool attempt(HostedCall& call, std::tuple<As...>& arguments) {
    T& object = call.object<T>();
    auto attempted =
        std::apply([&](As&... each) { return F{}(object, call.client(), each...); }, arguments);
    if (!attempted) return false;
    if constexpr (requires { &F::take_back; }) call.take_back_by(take_back);
    if constexpr (requires { typename F::Then; }) {
      go_on(call, std::move(arguments));
    } else if constexpr (is_void) {
      give_result<void>(call, [] {});
    } else if constexpr (requires { &F::take_back; }) {
      try {
        give_value<Result>(call, *attempted);
      } catch (...) {
        // There is no room for it, or it can't travel: it is another's.
        F::take_back(object, call.client(), std::move(*attempted));
        throw;
      }
    } else {
      give_value<Result>(call, *attempted);
    }
    return true;
  }

  static void go_on(HostedCall& call, std::tuple<As...> given) {
    using Then = typename F::Then;
    using Other = typename Then::Object;
    const auto arguments = std::make_shared<std::tuple<As...>>(std::move(given));
    call.go_on_at(
        std::apply([](As&... each) -> Object& { return Then::object(each...); }, *arguments),
        [arguments](HostedCall& there) {
          const bool is_done = std::apply(
              [&](As&... each) { return Then{}(there.object<Other>(), there.client(), each...); },
              *arguments);
          if (is_done) give_result<void>(there, [] {});
          return is_done;
        },
        [arguments] { std::apply([](As&... each) { Then::withdraw(each...); }, *arguments); });
  }

  static void take_back(HostedCall& call) {
    if constexpr (requires { &F::take_back; }) {
      T& object = call.object<T>();
      if constexpr (is_void) {
        F::take_back(object, call.client());
      } else if constexpr (Plain<Result>) {
        F::take_back(object, call.client(), from_bytes<Result>(call.arguments().data()));
      } else {
        InArchive in(call.arguments(), call.cargo());
        F::take_back(object, call.client(), decode<Result>(in));
      }
    }
  }
};

}  // namespace kin::detail
