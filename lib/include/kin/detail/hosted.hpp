// SPDX-License-Identifier: BSL-1.0
#pragma once

// Objects in a manager's server, and calls as they come there. All kin run one program image; so what travels
// is the address of a template's instance, and the bytes that it reads.

#include <kin/detail/callback.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/export.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <typeinfo>
#include <utility>

namespace kin::detail {

class HostedCall;
/// Runs a call in the server; a template's instance, whose address is the same in all kin.
using HostedCode = void (*)(HostedCall& call);

/// What objects of kin's own are told, as bury(DeadClient) and nudged(Nudged), if they have such functions. Types of
/// their own, as a user's class may have a bury() that means another thing.
struct DeadClient {
  std::uint64_t process;
};
struct Nudged {};

/// An object that the server holds.
struct Hosted {
  Hosted() = default;
  Hosted(const Hosted&) = delete;
  Hosted& operator=(const Hosted&) = delete;
  virtual ~Hosted() = default;
  [[nodiscard]] virtual void* address() noexcept = 0;
  /// A process that has called is dead: what it held here is free.
  virtual void bury(std::uint64_t process) = 0;
  /// Another thread of the server's process has said that something may have changed.
  virtual void nudged() noexcept = 0;
};

template <typename T>
struct HostedOf final : Hosted {
  template <typename... Arguments>
  explicit HostedOf(Arguments&&... arguments) : value(std::forward<Arguments>(arguments)...) {}
  [[nodiscard]] void* address() noexcept override { return std::addressof(value); }
  void bury([[maybe_unused]] std::uint64_t process) override {
    const DeadClient dead{process};
    if constexpr (requires { value.bury(dead); }) value.bury(dead);
  }
  void nudged() noexcept override {
    if constexpr (requires { value.nudged(Nudged()); }) value.nudged(Nudged());
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
  /// Whether that is another program's: what its arguments say is not believed.
  [[nodiscard]] bool is_from_stranger() const noexcept { return is_from_stranger_; }

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
  HostedCall(void* object, std::span<const std::byte> arguments, IncomingCargo& cargo,
             bool is_from_stranger = false) noexcept
      : object_(object),
        arguments_(arguments),
        cargo_(&cargo),
        is_from_stranger_(is_from_stranger) {}
  ~HostedCall() = default;

 private:
  void* object_;
  std::span<const std::byte> arguments_;
  IncomingCargo* cargo_;
  bool is_from_stranger_;
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

/// A hash of the name of a type, the same in all kin.
[[nodiscard]] inline std::uint64_t type_number(const std::type_info& type) noexcept {
  return type.hash_code();
}

/// The type that a handle's object has. Throws SerializationError if it is another.
KIN_EXPORT void require_hosted_type(const Object& object, const std::type_info& type);

}  // namespace kin::detail
