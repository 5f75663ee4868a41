// SPDX-License-Identifier: BSL-1.0
#pragma once

// Calls of functions on objects in a manager's server, as those make them who call: see hosted.hpp.

#include <kin/detail/archive.hpp>
#include <kin/detail/call_bytes.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/hosted.hpp>
#include <kin/detail/task.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <typeinfo>

namespace kin::detail {

/// What a request begins with; RemoteCall fills it in.
inline constexpr std::size_t request_head_size = 32;

/// One call from this thread, from before it is made until its result was read.
///
/// Throws: ManagerDied; what the function threw.
class KIN_EXPORT RemoteCall {
 public:
  /// `function`: what errors name it by.
  RemoteCall(Object& hosted, const std::type_info& function);
  ~RemoteCall();
  RemoteCall(const RemoteCall&) = delete;
  RemoteCall& operator=(const RemoteCall&) = delete;

  /// Sends `message`, whose first `request_head_size` bytes are for the head, and waits for the answer.
  void make(HostedCode code, std::span<std::byte> message, const OutgoingCargo& cargo) {
    static_cast<void>(make(code, message, cargo, Deadline::never(), false));
  }
  /// The same for one that may be parked. False when the time is up: it was withdrawn.
  [[nodiscard]] bool make_until(HostedCode code, std::span<std::byte> message,
                                const OutgoingCargo& cargo, Deadline deadline) {
    return make(code, message, cargo, deadline, true);
  }
  /// The same for one that has to be made, also when the time limit of this thread's task has passed.
  void make_in_any_case(HostedCode code, std::span<std::byte> message, const OutgoingCargo& cargo);

  [[nodiscard]] std::span<const std::byte> result() const noexcept { return result_; }
  [[nodiscard]] IncomingCargo& cargo() noexcept { return cargo_; }

 private:
  bool make(HostedCode code, std::span<std::byte> message, const OutgoingCargo& cargo,
            Deadline deadline, bool may_wait);
  bool make_here(HostedCode code, std::span<const std::byte> arguments,
                 const OutgoingCargo& outgoing, bool only_looks);
  bool wait(Deadline deadline, bool may_withdraw);
  void look_after_server();
  void read_answer(std::span<const std::byte> arguments);

  Object& hosted_;
  const std::type_info& function_;
  struct ThreadLine* line_;  // null: the object is this process's own
  std::span<const std::byte> result_;
  IncomingCargo cargo_;
  std::unique_ptr<std::byte[]> own_result_;
};

/// A call that nobody waits for yet. `message` as in RemoteCall::make().
[[nodiscard]] KIN_EXPORT TaskRef start_call(const Handle& hosted, HostedCode code,
                                            std::span<std::byte> message,
                                            const OutgoingCargo& cargo,
                                            const std::type_info& function);

/// What a call returned.
template <typename R>
R read_answer(RemoteCall& call) {
  if constexpr (std::is_void_v<R>) {
    return;
  } else if constexpr (Plain<R>) {
    if (call.result().size() != sizeof(R)) InArchive::complain_short();
    return from_bytes<R>(call.result().data());
  } else {
    InArchive in(call.result(), call.cargo());
    return decode<R>(in);
  }
}

}  // namespace kin::detail
