// SPDX-License-Identifier: BSL-1.0
#pragma once

// Objects in a manager's server, and calls of functions on them: what runs there, and how a call is
// made from elsewhere. All kin run one program image; so what travels is the address of a template's
// instance, and the bytes that it reads.

#include <kin/detail/archive.hpp>
#include <kin/detail/call_bytes.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/callback.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/task.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace kin::detail {

class HostedCall;
/// Runs a call in the server; a template's instance, whose address is the same in all kin.
using HostedCode = void (*)(HostedCall& call);

/// An object that the server holds.
struct Hosted {
  Hosted() = default;
  Hosted(const Hosted&) = delete;
  Hosted& operator=(const Hosted&) = delete;
  virtual ~Hosted() = default;
  [[nodiscard]] virtual void* address() noexcept = 0;
  /// A process that has called is dead: what it held here is free.
  virtual void bury(std::uint64_t process) = 0;
};

template <typename T>
struct HostedOf final : Hosted {
  template <typename... Arguments>
  explicit HostedOf(Arguments&&... arguments) : value(std::forward<Arguments>(arguments)...) {}
  [[nodiscard]] void* address() noexcept override { return std::addressof(value); }
  void bury([[maybe_unused]] std::uint64_t process) override {
    if constexpr (requires { value.bury(process); }) value.bury(process);
  }
  T value;
};

/// A call as the code that runs it in the server sees it: an object, bytes in, bytes out.
class KIN_EXPORT HostedCall {
 public:
  using Attempt = Callback<bool(HostedCall& call)>;
  using Withdrawal = Callback<void()>;

  HostedCall(const HostedCall&) = delete;
  HostedCall& operator=(const HostedCall&) = delete;

  template <typename T>
  [[nodiscard]] T& object() const noexcept {
    return *static_cast<T*>(object_);
  }
  [[nodiscard]] void* object_address() const noexcept { return object_; }
  [[nodiscard]] std::span<const std::byte> arguments() const noexcept { return arguments_; }
  [[nodiscard]] IncomingCargo& cargo() const noexcept { return *cargo_; }
  /// The stamp of the process that calls.
  [[nodiscard]] virtual std::uint64_t client() = 0;

  /// From here on what goes wrong is the result's fault.
  void begin_giving() noexcept { gives_ = true; }
  [[nodiscard]] bool gives() const noexcept { return gives_; }
  /// The result. Once.
  virtual void give(std::span<const std::byte> bytes, const OutgoingCargo& cargo) = 0;

  /// It can't be answered yet: `attempt` is called again whenever the object may have changed, until
  /// it returns true, and `withdrawn` if the client gives up, or dies, before that.
  virtual void park(Attempt attempt, Withdrawal withdrawn) = 0;
  /// Instead of a result: it goes on as a call of another object of the same server, which the client can't
  /// give up any more; `withdrawn` is called if it dies. Throws std::logic_error where it may not wait.
  virtual void go_on_at(Object& hosted, Attempt attempt, Withdrawal withdrawn);
  /// The result is to be taken back if the client dies before it has it: by a call of this code, with the
  /// result as its arguments.
  virtual void take_back_by(HostedCode code) = 0;

  /// Throws std::invalid_argument for code that this process does not have.
  void check_code(const void* code, const std::type_info& function) const;

 protected:
  HostedCall(void* object, std::span<const std::byte> arguments, IncomingCargo& cargo) noexcept
      : object_(object), arguments_(arguments), cargo_(&cargo) {}
  ~HostedCall() = default;

 private:
  void* object_;
  std::span<const std::byte> arguments_;
  IncomingCargo* cargo_;
  bool gives_ = false;
};

}  // namespace kin::detail

namespace kin {

/// How a manager's server is doing.
struct ManagerStatistics {
  std::size_t objects = 0;  // that somebody refers to
  std::size_t calls = 0;    // since it was started
  std::size_t parked = 0;   // calls that wait
  std::size_t clients = 0;  // processes that have a line, at the moment
};

}  // namespace kin

namespace kin::detail {

/// The first object of every server: makes the others.
class KIN_EXPORT HostRoot {
 public:
  /// The server holds it from now on, for as long as anybody refers to it.
  [[nodiscard]] Handle host(std::unique_ptr<Hosted> object, const std::type_info& type);
  [[nodiscard]] ManagerStatistics statistics();

  /// A value for whoever asks for the name; instead of the one that it had.
  void publish(const std::string& name, const std::type_info& type,
               std::span<const std::byte> message, const OutgoingCargo& cargo);
  /// Throws std::out_of_range for a name that nothing has, std::invalid_argument where it has a value of
  /// another type.
  [[nodiscard]] std::span<const std::byte> find(const std::string& name, const std::type_info& type,
                                                IncomingCargo& cargo);

  // For sessions, which call for processes of other programs. Those have a number each, by which what they
  // hold is known.
  [[nodiscard]] std::uint64_t add_outsider(std::uint64_t session);
  void bury_outsider(std::uint64_t outsider);
  /// What was answered to this line of the session's did not reach whom it was for.
  void take_back(std::uint32_t line);
};

/// What a request begins with; RemoteCall fills it in.
inline constexpr std::size_t request_head_size = 32;

/// A hash of the name of a type, the same in all kin.
[[nodiscard]] inline std::uint64_t type_number(const std::type_info& type) noexcept {
  return type.hash_code();
}

/// The type that a handle's object has. Throws SerializationError if it is another.
KIN_EXPORT void require_hosted_type(const Object& object, const std::type_info& type);

/// One call from this thread, from before it is made until its result was read.
///
/// Throws: ManagerDied; what the function threw.
class KIN_EXPORT RemoteCall {
 public:
  explicit RemoteCall(Object& hosted);
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
  void read_answer();

  Object& hosted_;
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
      return check(Bytes::read(in));
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
    RemoteCall call(hosted);
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
    auto arguments = std::make_shared<std::tuple<As...>>(std::move(parts.arguments));
    call.park([arguments](HostedCall& again) { return attempt(again, *arguments); },
              [&object, client, arguments] {
                static_cast<void>(object);  // used only where F::withdraw() is
                static_cast<void>(client);
                if constexpr (requires(As&... each) { F::withdraw(object, client, each...); }) {
                  std::apply([&](As&... each) { F::withdraw(object, client, each...); },
                             *arguments);
                }
              });
  }

  /// None, or false, when the time is up.
  template <typename... Given>
  static auto make(Object& hosted, Deadline deadline, const F& function, Given&&... given) {
    RemoteCall call(hosted);
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
