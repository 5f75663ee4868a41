// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/shared_block.hpp>
#include <kin/lock.hpp>
#include <kin/serialize.hpp>

#include <boost/serialization/access.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace kin {

/// A plain value in shared memory, with its lock.
///
///     kin::Value<int> counter(0);
///     kin::Process child([counter] { counter.fetch_add(1); });
///     child.start();
///     child.join();
///     int count = counter.load();  // 1
///
/// Whatever changes it waits for its lock, and holds it from the first look at the value until the new
/// one is there: store, fetch_add, with and all the others exclude each other, and whoever holds
/// get_lock(). load() waits for nobody, and never sees half a value, however large it is.
///
/// The lock is an RLock of its own, or the Lock or RLock that the constructor was given: one lock may
/// guard several values. With a plain Lock, nothing that changes the value may be called while it is held.
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same value.
/// Sharing: process-safe and thread-safe; every operation is const; may be sent in a message.
/// After fork: the child's copy names the same value.
/// If a process dies: killed at any instruction of a change, it leaves the old value or the new one, and
/// the lock to the next. Who changes it in several steps with get_lock() held asks owner_died().
/// Throws: std::bad_alloc from the constructor; DeadlockError where a plain Lock is held already;
/// std::logic_error on a moved-from handle; kin::SystemError where this process is refused.
/// Python: multiprocessing.Value.
template <typename T>
class Value {
  static_assert(detail::require_plain<T>());

 public:
  using value_type = T;

  Value() : Value(T{}) {}
  explicit Value(const T& initial) : Value(initial, detail::ChosenLock()) {}
  Value(const T& initial, const Lock& lock) : Value(initial, detail::ChosenLock(lock)) {}
  Value(const T& initial, const RLock& lock) : Value(initial, detail::ChosenLock(lock)) {}

  [[nodiscard]] T load() const {
    if constexpr (is_word) {
      return detail::WordAt<T>::load(block_.bytes());
    } else {
      T value;
      if (copies().try_load(std::addressof(value))) return value;
      const std::scoped_lock guard(get_lock());
      static_cast<void>(copies().try_load(std::addressof(value)));
      return value;
    }
  }
  void store(const T& value) const {
    const std::scoped_lock guard(get_lock());
    put(value);
  }
  /// The value before.
  T exchange(const T& value) const {
    return change([&](const T& /*old*/) { return value; });
  }
  /// Stores `desired` if the value is `expected`; else sets `expected` to what it is.
  bool compare_exchange(T& expected, const T& desired) const
    requires std::equality_comparable<T>
  {
    const std::scoped_lock guard(get_lock());
    const T value = load();
    if (!(value == expected)) {
      expected = value;
      return false;
    }
    put(desired);
    return true;
  }

  /// Each returns the value before. Integers wrap around.
  T fetch_add(T amount) const
    requires detail::Number<T>
  {
    return change([&](T old) { return detail::sum(old, amount); });
  }
  T fetch_sub(T amount) const
    requires detail::Number<T>
  {
    return change([&](T old) { return detail::difference(old, amount); });
  }
  T fetch_and(T mask) const
    requires std::integral<T>
  {
    return change([&](T old) { return static_cast<T>(old & mask); });
  }
  T fetch_or(T mask) const
    requires std::integral<T>
  {
    return change([&](T old) { return static_cast<T>(old | mask); });
  }
  T fetch_xor(T mask) const
    requires std::integral<T>
  {
    return change([&](T old) { return static_cast<T>(old ^ mask); });
  }

  /// Calls `f(T&)` with the lock held, and returns what it returned, by value. It changes a copy, which is
  /// the value once it has returned: if it throws, or is killed, nothing was changed. What changes the
  /// value inside of it, but for its argument, is a std::logic_error; and so is it to return from it in the
  /// child of a fork, which does not hold the lock.
  template <std::invocable<T&> F>
  auto with(F&& f) const -> std::remove_cvref_t<std::invoke_result_t<F, T&>> {
    const std::scoped_lock guard(get_lock());
    const auto before = edition();
    T copy = load();
    if constexpr (std::is_void_v<std::invoke_result_t<F, T&>>) {
      std::invoke(std::forward<F>(f), copy);
      put_over(before, copy);
    } else {
      std::remove_cvref_t<std::invoke_result_t<F, T&>> result =
          std::invoke(std::forward<F>(f), copy);
      put_over(before, copy);
      return result;
    }
  }

  /// It has the operations of a kin::Lock, is not freed as long as the value lives, and stays the lock of
  /// all copies.
  [[nodiscard]] const detail::LockHandle& get_lock() const noexcept { return lock_.get(); }

  /// Whether both name the same value.
  friend bool operator==(const Value& left, const Value& right) noexcept {
    return left.block_ == right.block_;
  }

 private:
  static constexpr bool is_word = detail::FitsWord<T>;
  static constexpr std::size_t size = is_word ? sizeof(T) : detail::TwoCopies::bytes_for(sizeof(T));

  Value(const T& initial, detail::ChosenLock lock) : block_(size), lock_(std::move(lock)) {
    put(initial);
  }

  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    block_.travel(archive);
    block_.require_size(size);
    archive& lock_;
  }

  [[nodiscard]] detail::TwoCopies copies() const { return {block_.bytes(), sizeof(T)}; }

  // All below with the lock held.

  void put(const T& value) const {
    if constexpr (is_word) {
      detail::WordAt<T>::store(block_.bytes(), value);
    } else {
      copies().store(std::addressof(value));
    }
  }
  [[nodiscard]] std::uint64_t edition() const {
    if constexpr (is_word) {
      return detail::WordAt<T>::edition(block_.bytes());
    } else {
      return copies().edition();
    }
  }
  void put_over(std::uint64_t before, const T& value) const {
    if (!get_lock().held_by_this_thread()) {
      throw std::logic_error(
          "kin: a value's lock was let go of inside of its with(), or forked in");
    }
    if (edition() != before) {
      throw std::logic_error("kin: a value was changed inside of its with(), by another way");
    }
    put(value);
  }

  template <typename F>
  T change(F&& next) const {
    const std::scoped_lock guard(get_lock());
    const T old = load();
    put(next(old));
    return old;
  }

  detail::SharedBlock block_;
  detail::ChosenLock lock_;
};

/// A plain value in shared memory, and nothing else: a T& that all kin have.
///
///     kin::RawValue<long> counter(0);
///     counter.atomic().fetch_add(1);
///
/// Who shares it says how: by atomic(), by a lock of his own, or by taking turns. A T& that one process
/// reads while another writes is as wrong as between threads.
///
/// Lifetime: lives as long as any process holds a handle; get() is good as long as this one does. Copies
/// of a handle name the same value.
/// Sharing: the handle as a Value; what get() refers to is the caller's to guard.
/// If a process dies: what it was writing through get() may be half written.
/// Throws: std::bad_alloc from the constructor; std::logic_error on a moved-from handle.
/// Python: multiprocessing.RawValue; Value(..., lock=False).
template <typename T>
class RawValue {
  static_assert(detail::require_plain<T>());

 public:
  using value_type = T;

  RawValue() : RawValue(T{}) {}
  explicit RawValue(const T& initial) : block_(sizeof(T)) {
    std::memcpy(block_.bytes(), std::addressof(initial), sizeof(T));
  }

  [[nodiscard]] T& get() const { return *reinterpret_cast<T*>(block_.bytes()); }
  T& operator*() const { return get(); }
  T* operator->() const { return std::addressof(get()); }
  /// The bare atomic, for types that have one without a lock.
  [[nodiscard]] std::atomic_ref<T> atomic() const
    requires std::atomic_ref<T>::is_always_lock_free
  {
    return std::atomic_ref<T>(get());
  }

  /// Whether both name the same value.
  friend bool operator==(const RawValue& left, const RawValue& right) noexcept {
    return left.block_ == right.block_;
  }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    block_.travel(archive);
    block_.require_size(sizeof(T));
  }

  detail::SharedBlock block_;
};

}  // namespace kin
