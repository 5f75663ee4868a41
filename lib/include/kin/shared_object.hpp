// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/handle_of.hpp>
#include <kin/detail/shared_hold.hpp>
#include <kin/detail/shared_parts.hpp>
#include <kin/error.hpp>
#include <kin/shared_allocator.hpp>

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace kin {

/// An object in shared memory, of any size and with containers in it, that is used with its lock held only.
///
///     kin::SharedObject<kin::SharedMap<kin::SharedString, int>> counts;
///     kin::Process child([counts] { counts.with([](auto& map) { ++map["apple"]; }); });
///     child.start();
///     child.join();
///     int apples = counts.read([](const auto& map) { return map.find("apple")->second; });  // 1
///
/// Whatever in it needs memory of its own uses SharedAllocator; SharedString, SharedVector, SharedMap and
/// others are at hand. Members that can be seen are checked by the compiler; private ones of a class are
/// the class's business. Pointers to parts of the object are the same in all processes; nothing in it may
/// point to anything else.
///
/// with() takes the lock, calls a function with the object, and returns what the function returned, by
/// value. An exception passes; what was changed stays changed.
///
/// Lifetime: lives as long as any process holds a handle. Then its memory ends as a whole: the destructor of
/// T is not called, here and in replace(). Copies of a handle name the same object.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// After fork: the child's copy names the same object.
/// If a process dies: killed in with(), it leaves an object that may be half changed. So it is *poisoned*:
/// everybody gets OwnerDied, until one has called repair() or replace(). Killed in read(), in replace() or
/// elsewhere it leaves it as it is. A thread that ends in with() counts as killed.
/// Throws: OwnerDied while it is poisoned; DeadlockError where this thread is in its with() already;
/// std::bad_alloc; std::logic_error on a moved-from handle.
/// Python: a dict or list of multiprocessing.Manager, without the server.
template <typename T>
class SharedObject : public detail::HandleOf<detail::ObjectKind::shared_object> {
  static_assert(detail::require_shared_parts<T>());
  using Base = detail::HandleOf<detail::ObjectKind::shared_object>;
  using For = detail::SharedHold::For;
  template <typename F, typename Argument>
  using Result = std::remove_cvref_t<std::invoke_result_t<F, Argument>>;
  template <typename R>
  using Maybe = typename std::conditional_t<std::is_void_v<R>, std::type_identity<bool>,
                                            std::type_identity<std::optional<R>>>::type;

 public:
  using value_type = T;

  /// Constructs the T in shared memory.
  SharedObject()
    requires std::default_initializable<T>
      : Base(detail::new_shared_object()) {
    replace();
  }
  template <typename First, typename... Arguments>
    requires(!std::same_as<std::remove_cvref_t<First>, SharedObject>)
  explicit SharedObject(First&& first, Arguments&&... arguments)
      : Base(detail::new_shared_object()) {
    replace(std::forward<First>(first), std::forward<Arguments>(arguments)...);
  }

  /// Calls `f(T&)`.
  template <std::invocable<T&> F>
  auto with(F&& f) const -> Result<F, T&> {
    static_assert(detail::require_own_memory<Result<F, T&>>());
    const detail::SharedHold hold(object(), For::changing, detail::Deadline::never());
    return std::invoke(std::forward<F>(f), in(hold));
  }
  /// Does not wait: an empty result, or false where there is none, if somebody else is in it.
  template <std::invocable<T&> F>
  [[nodiscard]] auto try_with(F&& f) const -> Maybe<Result<F, T&>> {
    return with_until(detail::Deadline::passed(), std::forward<F>(f));
  }
  /// Waits up to a limit. A negative duration means zero.
  template <typename Rep, typename Period, std::invocable<T&> F>
  [[nodiscard]] auto with_for(std::chrono::duration<Rep, Period> limit, F&& f) const
      -> Maybe<Result<F, T&>> {
    return with_until(detail::Deadline::after(limit), std::forward<F>(f));
  }
  /// Calls `f(const T&)`. Nobody else is in it meanwhile; who is killed in it has changed nothing.
  template <std::invocable<const T&> F>
  auto read(F&& f) const -> Result<F, const T&> {
    static_assert(detail::require_own_memory<Result<F, const T&>>());
    const detail::SharedHold hold(object(), For::looking, detail::Deadline::never());
    return std::invoke(std::forward<F>(f), std::as_const(in(hold)));
  }

  /// Whether somebody was killed in with(), and nobody has repaired it.
  [[nodiscard]] bool is_poisoned() const { return detail::is_poisoned(object()); }
  /// If it is poisoned, calls `f(T&)`, which brings in order what may be half changed; if that returns, the
  /// object is as any other. True if it was called; false if somebody else has repaired it.
  /// A container that was being changed can't be repaired, nor even looked at: that is for replace().
  template <std::invocable<T&> F>
  bool repair(F&& f) const {
    detail::SharedHold hold(object(), For::repairing, detail::Deadline::never());
    if (!hold.is_poisoned()) return false;
    std::invoke(std::forward<F>(f), in(hold));
    hold.heal();
    return true;
  }
  /// Constructs another T in its place, poisoned or not. All or nothing: if the constructor throws, or the
  /// process is killed, the object is what it was.
  template <typename... Arguments>
    requires std::constructible_from<T, Arguments...>
  void replace(Arguments&&... arguments) const {
    detail::SharedHold hold(object(), For::replacing, detail::Deadline::never());
    std::uninitialized_construct_using_allocator(static_cast<T*>(hold.make_room(sizeof(T))),
                                                 SharedAllocator<T>(),
                                                 std::forward<Arguments>(arguments)...);
    hold.commit();
  }

 private:
  static T& in(const detail::SharedHold& hold) { return *static_cast<T*>(hold.root()); }

  template <typename F>
  auto with_until(detail::Deadline deadline, F&& f) const -> Maybe<Result<F, T&>> {
    using Returned = Result<F, T&>;
    static_assert(detail::require_own_memory<Returned>());
    const detail::SharedHold hold(object(), For::changing, deadline);
    if (!hold) return Maybe<Returned>();
    if constexpr (std::is_void_v<Returned>) {
      std::invoke(std::forward<F>(f), in(hold));
      return true;
    } else {
      return Maybe<Returned>(std::in_place, std::invoke(std::forward<F>(f), in(hold)));
    }
  }
};

}  // namespace kin
