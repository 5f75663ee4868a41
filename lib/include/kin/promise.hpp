// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/local_task.hpp>
#include <kin/error.hpp>
#include <kin/future.hpp>

#include <atomic>
#include <concepts>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

namespace kin {

namespace detail {

/// What a Promise has promised.
class PromisedTask final : public LocalTask {
 public:
  explicit PromisedTask(const std::type_info& result) : LocalTask(result) {}

  [[nodiscard]] std::string name() const override { return "a promise of " + LocalTask::name(); }

  /// The one who ends it is the one who claims it first. A future that was cancelled is over.
  void claim() {
    static_cast<void>(begin());
    if (stage() != Stage::running || is_claimed_.exchange(true)) {
      throw InvalidStateError(name() + " was kept before, or cancelled");
    }
  }

 private:
  ~PromisedTask() override = default;

  std::atomic<bool> is_claimed_{false};
};

}  // namespace detail

/// A Future whose result is set by hand: for what ends in a way of its own, beside the futures of pools.
///
///     kin::Promise<int> promise;
///     std::thread other([&] { promise.set_result(42); });
///     int answer = promise.get_future().get();  // 42
///
/// Lifetime: the future lives on by itself. It ends with CancelledError if the promise is gone before it
/// was kept.
/// Sharing: thread-safe; parent-only. The result may be of any type: it goes to no other process.
/// Throws: InvalidStateError from set_result() and set_exception() when the future is over already.
/// Python: what concurrent.futures.Future has for executors.
template <typename T>
class Promise {
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  Promise() : task_(*new detail::PromisedTask(typeid(T))) {}
  Promise(Promise&&) noexcept = default;
  Promise& operator=(Promise&& other) noexcept {
    std::swap(task_, other.task_);
    return *this;
  }
  Promise(const Promise&) = delete;
  Promise& operator=(const Promise&) = delete;
  ~Promise() {
    if (task_ && !task_->cancel(false) && !task_->is_over(task_->stage())) break_it();
  }

  /// Any number of times; all name the same.
  [[nodiscard]] Future<T> get_future() const { return Future<T>(task_); }

  /// The work begins, and can't be cancelled from now on. False if it was cancelled or has begun before.
  /// Python: set_running_or_notify_cancel().
  [[nodiscard]] bool begin() const { return promised().begin(); }

  template <typename... Arguments>
    requires std::constructible_from<Value, Arguments...>
  void set_result(Arguments&&... arguments) const {
    auto box = std::make_unique<detail::BoxOf<Value>>(std::forward<Arguments>(arguments)...);
    promised().claim();
    promised().finish(std::move(box));
  }
  void set_exception(std::exception_ptr exception) const {
    promised().claim();
    promised().fail(std::move(exception));
  }
  template <std::derived_from<std::exception> E>
  void set_exception(E exception) const {
    set_exception(std::make_exception_ptr(std::move(exception)));
  }

 private:
  [[nodiscard]] detail::PromisedTask& promised() const {
    if (!task_) detail::complain_no_task();
    return static_cast<detail::PromisedTask&>(*task_);
  }

  // It had begun.
  void break_it() noexcept {
    try {
      set_exception(CancelledError(promised().name() + " was let go of before it was kept"));
    } catch (const std::exception&) {
      return;  // kept meanwhile
    }
  }

  detail::TaskRef task_;
};

}  // namespace kin
