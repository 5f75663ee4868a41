// SPDX-License-Identifier: BSL-1.0
#pragma once

// Calls as messages to a worker and back.

#include <kin/detail/call_bytes.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/process_engine.hpp>
#include <kin/detail/task_context.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kin::detail {

/// One call of an F with arguments that travel as As.
template <typename F, typename... As>
struct CallMessage {
  using Result = ResultOf<F, As...>;
  using Bytes = CallBytes<F, As...>;

  template <typename... Given>
  static TaskRef hold(ProcessEngine& engine, const TaskLimits& limits, const F& function,
                      Given&&... given) {
    engine.check(function);
    if constexpr (Bytes::is_plain) {
      std::array<std::byte, Bytes::plain_size> bytes;
      Bytes::write(bytes.data(), function, static_cast<const As&>(given)...);
      return engine.hold(run, bytes, {}, limits, typeid(F));
    } else {
      const BorrowedBuffers buffers;
      const auto hold_all = [&](const As&... each) {
        Bytes::write(buffers->out, function, each...);
        return engine.hold(run, buffers->out.bytes(), buffers->out.cargo(), limits, typeid(F));
      };
      return hold_all(As(std::forward<Given>(given))...);
    }
  }

  static void run(TaskContext& context) {
    if constexpr (Bytes::is_plain) {
      if (context.arguments().size() != Bytes::plain_size) InArchive::complain_short();
      auto parts = Bytes::read(context.arguments().data());
      call(context, parts.function, parts.arguments);
    } else {
      IncomingCargo cargo;
      context.claim_cargo(cargo);
      InArchive in(context.arguments(), cargo);
      auto parts = Bytes::read(in);
      call(context, parts.function, parts.arguments);
    }
  }

 private:
  static void call(TaskContext& context, F& function, std::tuple<As...>& arguments) {
    give_result<Result>(context, [&]() -> decltype(auto) {
      return std::apply(
          [&](As&... each) -> decltype(auto) { return std::invoke(function, std::move(each)...); },
          arguments);
    });
  }
};

}  // namespace kin::detail
