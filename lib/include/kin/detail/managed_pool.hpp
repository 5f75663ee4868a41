// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/managed_contents.hpp>
#include <kin/detail/pool_store.hpp>
#include <kin/error.hpp>
#include <kin/proxy.hpp>

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin::managed {

/// The result of a task of a managed::Pool, when it is there. Any client may ask for it, any number of times.
///
/// Lifetime: the result lives in the server as long as there is a proxy of it. One that is dropped leaves the
/// task running.
/// Throws: as Future; ManagerDied.
/// Python: the AsyncResult that a manager's pool gives.
template <typename R>
class AsyncResult : public Proxy<detail::ResultStore<R>> {
  using Store = detail::ResultStore<R>;
  using Base = Proxy<Store>;

 public:
  AsyncResult() noexcept = default;
  explicit AsyncResult(Base proxy) : Base(std::move(proxy)) {}

  /// Waits for it; throws what the function threw.
  R get() const {
    if constexpr (std::is_void_v<R>) {
      static_cast<void>(get_until(detail::Deadline::never()));
    } else {
      return *get_until(detail::Deadline::never());
    }
  }
  /// None, or false, while it is not there.
  [[nodiscard]] auto try_get() const { return get_until(detail::Deadline::passed()); }
  template <typename Rep, typename Period>
  [[nodiscard]] auto get_for(std::chrono::duration<Rep, Period> limit) const {
    return get_until(detail::Deadline::after(limit));
  }
  /// Until the task is over, however it ends.
  void wait() const {
    static_cast<void>(Base::template wait<detail::AwaitResult<R>>(detail::Deadline::never()));
  }
  template <typename Rep, typename Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    return Base::template wait<detail::AwaitResult<R>>(detail::Deadline::after(limit));
  }
  [[nodiscard]] bool ready() const { return this->own(detail::method<&Store::is_ready>); }
  /// Throws InvalidStateError while it is not over.
  [[nodiscard]] bool successful() const { return this->own(detail::method<&Store::is_successful>); }

 private:
  auto get_until(detail::Deadline deadline) const {
    return Base::template wait<detail::TakeResult<R>>(deadline);
  }
};

/// The results of imap(), which come one by one, to whoever asks next.
///
/// If a process dies: a result that was handed to it and that it did not come to read is another's.
template <typename R>
class Results : public Proxy<detail::ResultsStore<R>> {
  using Base = Proxy<detail::ResultsStore<R>>;

 public:
  Results() noexcept = default;
  explicit Results(Base proxy) : Base(std::move(proxy)) {}

  /// Waits for it; none behind the last. Throws what its item threw; one may go on behind it.
  std::optional<R> next() const { return next_until(detail::Deadline::never()); }
  /// Throws TimeoutError when it takes longer; it is the next one still.
  template <typename Rep, typename Period>
  std::optional<R> next_for(std::chrono::duration<Rep, Period> limit) const {
    return next_until(detail::Deadline::after(limit));
  }

  class Iterator {
   public:
    using value_type = R;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    Iterator() = default;
    explicit Iterator(const Results& results) : results_(results), next_(results_.next()) {}
    const R& operator*() const { return *next_; }
    Iterator& operator++() {
      next_ = results_.next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& left, std::default_sentinel_t /*end*/) {
      return !left.next_.has_value();
    }

   private:
    Results results_;
    std::optional<R> next_;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::optional<R> next_until(detail::Deadline deadline) const {
    auto next = Base::template wait<detail::TakeNext<R>>(deadline);
    if (!next) throw TimeoutError("no result within the time limit");
    return next->empty() ? std::optional<R>() : std::optional<R>(std::move(next->front()));
  }
};

/// A pool of workers that belongs to a manager's server: every client can give it tasks.
///
///     auto pool = manager.pool(4);
///     int nine = pool.apply(square, 3);
///     std::vector<int> all = pool.map(square, std::views::iota(0, 100));
///     std::vector<int> same = pool.map({.chunk_size = 20}, square, std::views::iota(0, 100));
///     kin::managed::AsyncResult<int> later = pool.apply_async(square, 7);  // may itself be sent
///
/// What travels is what a kin::Pool takes; it goes through the server, once more than to a pool of one's own.
/// Who waits for a result holds nobody up.
///
/// Lifetime: as long as there is a proxy of it; then it is terminated, as by terminate(), for which the server
/// stands still, a second at most.
/// If a process dies: as kin::Pool. When the server dies, so do the workers.
/// Throws: as Proxy, and what kin::Pool throws.
/// Python: manager.Pool().
class KIN_EXPORT Pool : public Proxy<detail::PoolStore> {
  using Store = detail::PoolStore;
  using Base = Proxy<Store>;
  template <typename F, typename... As>
  using ResultOf = detail::ResultOf<std::decay_t<F>, detail::ArgumentOf<As>...>;
  template <typename R>
  using ItemOf = detail::ArgumentOf<std::ranges::range_value_t<R>>;
  template <bool star, typename F, typename R>
  using ResultOfItem = detail::ItemResult<star, std::decay_t<F>, ItemOf<R>>;

 public:
  Pool() noexcept = default;
  explicit Pool(Base proxy) : Base(std::move(proxy)) {}

  /// Calls `function(arguments...)` in a worker and waits for the result.
  template <typename F, typename... As>
  auto apply(const F& function, As&&... arguments) const {
    return apply_async(function, std::forward<As>(arguments)...).get();
  }
  template <typename F, typename... As>
  auto apply_async(const F& function, As&&... arguments) const {
    return AsyncResult<ResultOf<F, As...>>(
        Base::apply(detail::within<detail::StartTask, std::decay_t<const F&>>(function),
                    std::forward<As>(arguments)...));
  }
  template <typename F, typename... As>
  auto apply(CallOptions<ResultOf<F, As...>> options, const F& function, As&&... arguments) const {
    return apply_async(std::move(options), function, std::forward<As>(arguments)...).get();
  }
  template <typename F, typename... As>
  auto apply_async(CallOptions<ResultOf<F, As...>> options, const F& function,
                   As&&... arguments) const {
    return AsyncResult<ResultOf<F, As...>>(
        Base::apply(detail::within<detail::StartTaskWith, std::decay_t<const F&>>(function),
                    std::move(options), std::forward<As>(arguments)...));
  }

  /// Calls `function(item)` for each item, in several workers; the results in the order of the items.
  template <typename F, std::ranges::input_range R>
  auto map(const F& function, R&& items) const {
    return map_async(function, std::forward<R>(items)).get();
  }
  template <typename F, std::ranges::input_range R>
  auto map(MapOptions<ResultOfItem<false, F, R>> options, const F& function, R&& items) const {
    return map_async(std::move(options), function, std::forward<R>(items)).get();
  }
  template <typename F, typename T>
  auto map(const F& function, std::initializer_list<T> items) const {
    return map_async(function, items).get();
  }
  template <typename F, std::ranges::input_range R>
  auto map_async(const F& function, R&& items) const {
    return map_async({}, function, std::forward<R>(items));
  }
  template <typename F, std::ranges::input_range R>
  auto map_async(MapOptions<ResultOfItem<false, F, R>> options, const F& function,
                 R&& items) const {
    return AsyncResult<detail::ListOf<ResultOfItem<false, F, R>>>(
        start<detail::StartMap<false>>(std::move(options), function, items));
  }
  /// As map(), where each item is a tuple of the function's arguments.
  template <typename F, std::ranges::input_range R>
  auto starmap(const F& function, R&& items) const {
    return starmap_async(function, std::forward<R>(items)).get();
  }
  template <typename F, std::ranges::input_range R>
  auto starmap(MapOptions<ResultOfItem<true, F, R>> options, const F& function, R&& items) const {
    return starmap_async(std::move(options), function, std::forward<R>(items)).get();
  }
  template <typename F, std::ranges::input_range R>
  auto starmap_async(const F& function, R&& items) const {
    return starmap_async({}, function, std::forward<R>(items));
  }
  template <typename F, std::ranges::input_range R>
  auto starmap_async(MapOptions<ResultOfItem<true, F, R>> options, const F& function,
                     R&& items) const {
    return AsyncResult<detail::ListOf<ResultOfItem<true, F, R>>>(
        start<detail::StartMap<true>>(std::move(options), function, items));
  }
  /// The results one by one, in the order of the items. All items are sent at once, and are a task each if
  /// the options don't say otherwise.
  template <typename F, std::ranges::input_range R>
  [[nodiscard]] auto imap(const F& function, R&& items) const {
    return imap({}, function, std::forward<R>(items));
  }
  template <typename F, std::ranges::input_range R>
  [[nodiscard]] auto imap(MapOptions<ResultOfItem<false, F, R>> options, const F& function,
                          R&& items) const {
    return Results<ResultOfItem<false, F, R>>(
        start<detail::StartEach<false>>(std::move(options), function, items));
  }
  /// The same, in the order in which the results come.
  template <typename F, std::ranges::input_range R>
  [[nodiscard]] auto imap_unordered(const F& function, R&& items) const {
    return imap_unordered({}, function, std::forward<R>(items));
  }
  template <typename F, std::ranges::input_range R>
  [[nodiscard]] auto imap_unordered(MapOptions<ResultOfItem<false, F, R>> options,
                                    const F& function, R&& items) const {
    return Results<ResultOfItem<false, F, R>>(
        start<detail::StartEach<true>>(std::move(options), function, items));
  }

  /// No more tasks; those that were given are done.
  void close() const;
  /// Nothing more is done. What is pending or runs ends with CancelledError.
  void terminate() const;
  /// Waits until all workers have ended. std::logic_error before close() or terminate().
  void join() const { static_cast<void>(join_until(detail::Deadline::never())); }
  template <typename Rep, typename Period>
  [[nodiscard]] bool join_for(std::chrono::duration<Rep, Period> limit) const {
    return join_until(detail::Deadline::after(limit));
  }
  [[nodiscard]] std::vector<pid_t> worker_pids() const;

 private:
  [[nodiscard]] bool join_until(detail::Deadline deadline) const;
  template <typename Start, typename Options, typename F, typename R>
  auto start(Options options, const F& function, R& items) const {
    return Base::apply(detail::within<Start, std::decay_t<const F&>>(function),
                       detail::collect<std::vector<ItemOf<R>>>(items), std::move(options));
  }
};

}  // namespace kin::managed
