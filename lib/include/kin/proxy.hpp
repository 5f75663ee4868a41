// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/batch.hpp>
#include <kin/detail/exposed.hpp>
#include <kin/detail/handle_of.hpp>
#include <kin/detail/hosted_calls.hpp>
#include <kin/future.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace kin {

template <typename T>
class Proxy;

namespace detail {

/// What a proxy names, for calls that go on there.
struct ObjectOf {
  template <typename T>
  Object& operator()(const Proxy<T>& proxy) const {
    return proxy.shared();
  }
};

/// Outer, which is called with a function and with arguments, with its function: for calls that wrap one of
/// the user's.
template <typename Outer, typename F>
struct Within {
  F function;
  template <typename... As>
  decltype(auto) operator()(As&&... arguments) {
    return Outer{}(function, std::forward<As>(arguments)...);
  }
};
template <typename Outer, typename F>
auto within(const F& function) {
  require_portable_function<F>();
  if constexpr (is_bytes_only<F> && !Address<F>) {
    return Within<Outer, F>{function};
  } else {
    return partial(Outer{}, function);
  }
}

}  // namespace detail

/// Reaches a T in a manager's server.
///
///     kin::Proxy<Account> account = manager.make<Account>(100);
///     account.call(&Account::deposit, 5);
///     int balance = account.apply([](Account& a, int interest) { return a.add(interest); }, 2);
///
/// Functions run *in the server*, one after the other: each call is atomic. Arguments and results are
/// values of their own, copied to the server and back. What may be called, and what may travel, is what
/// a Pool takes: functions, member pointers, lambdas that captured nothing but plain values, partial().
///
/// Lifetime: the T lives as long as any process holds a proxy, or a message does, or another object of the
/// manager's; and no longer than the manager.
/// Sharing: process-safe and thread-safe; may itself be sent in a message, and kept in another object.
/// After fork: the child's copy works.
/// If a process dies: a call that its request did not reach never ran; one that it did ran whole. When the
/// server dies, every call throws ManagerDied within half a second.
/// Throws: ManagerDied; what the function threw (the same standard type, or a registered one, with a
/// RemoteError nested in it; else the RemoteError); std::logic_error when it names nothing;
/// std::invalid_argument for functions that would not mean the same in the server.
/// Python: the proxies of multiprocessing.managers.
template <typename T>
class Proxy : public detail::HandleOf<detail::ObjectKind::hosted> {
  using Base = detail::HandleOf<detail::ObjectKind::hosted>;

 public:
  using element_type = T;

  /// Names nothing; to be assigned to.
  Proxy() noexcept = default;
  explicit Proxy(detail::Handle handle) : Base(std::move(handle)) {}

  /// Calls a member function; gives its result.
  template <typename Method, typename... Arguments>
    requires std::is_member_pointer_v<Method>
  auto call(Method method, Arguments&&... arguments) const {
    return make(method, std::forward<Arguments>(arguments)...);
  }
  /// Calls a function with the T, as a T&, and the arguments.
  template <typename Function, typename... Arguments>
  auto apply(Function&& function, Arguments&&... arguments) const {
    return make(std::forward<Function>(function), std::forward<Arguments>(arguments)...);
  }

  /// The same, without waiting for the result. Futures can be cancelled as long as the server has not begun
  /// with the call.
  template <typename Method, typename... Arguments>
    requires std::is_member_pointer_v<Method>
  auto call_async(Method method, Arguments&&... arguments) const {
    return start(method, std::forward<Arguments>(arguments)...);
  }
  template <typename Function, typename... Arguments>
  auto apply_async(const Function& function, Arguments&&... arguments) const {
    return start(function, std::forward<Arguments>(arguments)...);
  }
  /// Calls that are made together: see Batch.
  [[nodiscard]] Batch<T> batch() const { return Batch<T>(*this); }

  /// A copy of the object itself.
  [[nodiscard]] T copy() const
    requires std::copy_constructible<T>
  {
    return apply([](T& object) { return T(object); });
  }

 protected:
  /// A call of a ready proxy's own function: once that proxy is exposed, other programs may make it.
  template <typename F, typename... Arguments>
  auto own(const F& function, Arguments&&... arguments) const {
    if constexpr (is_callable<F, detail::ArgumentOf<Arguments>...>()) {
      static_assert(detail::form_of<F>() == detail::FunctionForm::nothing);
      using Call = detail::SimpleCall<T, F, detail::ArgumentOf<Arguments>...>;
      static_cast<void>(detail::own_call_is_added<Call, T>);
      return Call::make(object(), function, std::forward<Arguments>(arguments)...);
    }
  }
  /// A call that waits in the server until F gives something; none when the time is up.
  template <typename F, typename... Arguments>
  auto wait(detail::Deadline deadline, Arguments&&... arguments) const {
    using Call = detail::WaitingCall<T, F, detail::ArgumentOf<Arguments>...>;
    static_cast<void>(detail::own_call_is_added<Call, T>);
    return Call::make(object(), deadline, F{}, std::forward<Arguments>(arguments)...);
  }

 private:
  friend class boost::serialization::access;
  friend class Batch<T>;
  friend struct detail::ObjectOf;
  [[nodiscard]] detail::Object& shared() const { return object(); }

  template <typename F, typename... As>
  static consteval bool is_callable() {
    detail::require_portable_function<F>();
    (detail::require_sendable<As>(), ...);
    constexpr bool can_be_called = std::is_invocable_v<F&, T&, As...>;
    static_assert(
        can_be_called,
        "kin: the function can't be called with the object, as a T&, and these arguments: "
        "it gets values of its own, text as std::string; a parameter behind the first "
        "can't be a T& or a const char*");
    if constexpr (can_be_called) {
      using Result = typename detail::SimpleCall<T, F, As...>::Result;
      if constexpr (!std::is_void_v<Result>) detail::require_sendable<Result>();
    }
    return can_be_called;
  }
  template <typename Function, typename... Arguments>
  auto make(Function&& function, Arguments&&... arguments) const {
    using F = std::decay_t<Function>;
    return detail::with_parameters<F, Arguments...>([&]<typename... As>() {
      if constexpr (is_callable<F, As...>()) {
        return detail::SimpleCall<T, F, As...>::make(object(), function,
                                                     std::forward<Arguments>(arguments)...);
      }
    });
  }
  template <typename Function, typename... Arguments>
  auto start(const Function& function, Arguments&&... arguments) const {
    using F = std::decay_t<const Function&>;
    return detail::with_parameters<F, Arguments...>([&]<typename... As>() {
      if constexpr (is_callable<F, As...>()) {
        using Call = detail::SimpleCall<T, F, As...>;
        static_cast<void>(object());
        const F decayed = function;
        return Future<typename Call::Result>(
            Call::start(handle(), decayed, std::forward<Arguments>(arguments)...));
      }
    });
  }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    travel(archive);
    if constexpr (std::same_as<Archive, detail::InArchive>) {
      detail::require_hosted_type(object(), typeid(T));
    }
  }
};

}  // namespace kin
