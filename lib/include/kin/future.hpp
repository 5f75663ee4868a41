// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/arrivals.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/task.hpp>
#include <kin/error.hpp>
#include <kin/serialize.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin {

/// How Future::cancel() goes about it.
struct CancelOptions {
  /// A task that runs is stopped: the process that runs it is killed, and another one takes its place.
  bool kill = false;
};

namespace detail {

[[noreturn]] KIN_EXPORT void complain_unfinished();
[[noreturn]] KIN_EXPORT void complain_no_task();

/// Reads what a finished task of another process returned.
template <typename T>
T read_result(Task& task) {
  IncomingCargo cargo;
  const std::span<const std::byte> bytes = task.message(cargo);
  if constexpr (Plain<T>) {
    if (bytes.size() != sizeof(T))
      InArchive::complain("a result of another size than its type has");
    T value;
    std::memcpy(std::addressof(value), bytes.data(), sizeof(T));
    return value;
  } else if constexpr (Sendable<T>) {
    InArchive in(bytes, cargo);
    return decode<T>(in);
  } else {
    complain_unfinished();  // a result that can't travel is never a message
  }
}

}  // namespace detail

/// The result of a call that runs elsewhere, when it is there: what Pool::apply_async() and an
/// executor's submit() return.
///
///     kin::Future<int> later = pool.apply_async(square, 7);
///     …
///     int result = later.get();  // waits; throws what square threw
///
/// get() waits as long as it takes, get_for() up to a limit, try_get() not at all; the last two return
/// an optional (a bool for void). A negative duration means zero.
///
/// Lifetime: copies name the same call; its result lives as long as one of them. A Future that is
/// dropped leaves the call running.
/// Sharing: thread-safe; parent-only.
/// After fork: the child's copy throws std::logic_error whatever it is asked, also when the call is over
/// and was read, since what the result lies in is used again by its maker; its destructor does nothing. Of
/// a thread's call the copy has a result that was there at the fork, and refuses to wait for another.
/// If a process dies: get() throws WorkerDied when it was the worker that ran the call (and the call
/// has no retries left), BrokenPool when the pool's nursery was killed.
/// Throws: get() and result() throw what the call threw (the same standard type, or a registered one,
/// with a RemoteError nested in it; else the RemoteError), CancelledError, TimeoutError when the call
/// ran for longer than its limit. std::logic_error for a Future that names no call.
/// Python: multiprocessing.pool.AsyncResult and concurrent.futures.Future.
template <typename T>
class Future {
  static constexpr bool is_void = std::is_void_v<T>;
  using Value = std::conditional_t<is_void, std::monostate, T>;
  using Reference = std::conditional_t<is_void, void, const Value&>;

 public:
  using value_type = T;

  /// Names no call.
  Future() noexcept = default;
  explicit Future(detail::TaskRef task) noexcept : task_(std::move(task)) {}

  /// Waits for the result. The reference is good as long as a copy of this Future is.
  Reference get() const& {
    static_cast<void>(task().wait(detail::Deadline::never()));
    return read();
  }
  /// Waits for the result and moves it out; a copy of this Future that is left has none any more.
  T get() && {
    static_cast<void>(task().wait(detail::Deadline::never()));
    return take();
  }
  /// The same.
  Reference result() const& { return get(); }
  T result() && { return std::move(*this).get(); }

  /// None while it is not over.
  auto try_get() const { return get_until(detail::Deadline::passed()); }
  template <typename Rep, typename Period>
  auto get_for(std::chrono::duration<Rep, Period> limit) const {
    return get_until(detail::Deadline::after(limit));
  }

  /// Until it is over, however it ends.
  void wait() const { static_cast<void>(task().wait(detail::Deadline::never())); }
  /// False when it goes on after that time.
  template <typename Rep, typename Period>
  bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    return task().wait(detail::Deadline::after(limit));
  }

  /// Over: with a result, with an exception, or cancelled. Python: done().
  [[nodiscard]] bool ready() const { return task().is_ready(); }
  [[nodiscard]] bool done() const { return ready(); }
  /// Whether it is over with a result. Throws InvalidStateError while it is not over.
  [[nodiscard]] bool successful() const {
    if (!ready()) detail::complain_unfinished();
    return task().stage() == detail::Task::Stage::finished;
  }
  /// Somebody has begun with it and not ended.
  [[nodiscard]] bool running() const { return task().stage() == detail::Task::Stage::running; }
  [[nodiscard]] bool cancelled() const { return task().stage() == detail::Task::Stage::cancelled; }

  /// Calls it off. True if it is cancelled now; false when it is over, or runs, unless it is killed.
  bool cancel(CancelOptions options = {}) const { return task().cancel(options.kill); }

  /// Waits; why there is no result, null where there is one. Throws CancelledError.
  [[nodiscard]] std::exception_ptr exception() const {
    wait();
    if (cancelled()) std::rethrow_exception(task().failure());
    return task().failure();
  }

  /// Calls `callback(future)` when it is over: in the pool's own thread of this process, in the worker
  /// thread of a ThreadPool, or at once, here, if it is over. What it throws is logged.
  template <std::invocable<Future> Function>
  void add_done_callback(Function&& callback) const {
    task().observe([self = *this, call = std::forward<Function>(callback)]() mutable {
      std::invoke(call, self);
      self = Future();
    });
  }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(task_); }
  /// Whether both name the same call.
  friend bool operator==(const Future&, const Future&) noexcept = default;

  /// For callbacks: uses the result of a call that finished, though not all who wait were told.
  template <typename Use>
    requires(!is_void)
  static void use_ended(detail::Task& task, Use& use) {
    if constexpr (Plain<Value>) {
      // Read again by whoever asks, which is less work than to keep it for them.
      if (task.box() == nullptr && task.is_message()) {
        use(detail::read_result<Value>(task));
        return;
      }
    }
    use(Future(detail::TaskRef(task)).read());
  }
  /// For the parts of kin that wait for several.
  [[nodiscard]] const detail::TaskRef& task_ref() const noexcept { return task_; }

 private:
  using BoxOfValue = detail::BoxOf<Value>;

  [[nodiscard]] detail::Task& task() const {
    if (!task_) detail::complain_no_task();
    return *task_;
  }

  void check() const {
    if (task().stage() != detail::Task::Stage::finished) std::rethrow_exception(task().failure());
  }

  Reference read() const {
    check();
    if constexpr (!is_void) return boxed().value;
  }

  BoxOfValue& boxed() const {
    if (detail::Box* box = task().box(); box != nullptr) return static_cast<BoxOfValue&>(*box);
    std::unique_ptr<detail::Box> box = task().make_box();
    if (!box) box = std::make_unique<BoxOfValue>(detail::read_result<Value>(task()));
    return static_cast<BoxOfValue&>(task().keep(std::move(box)));
  }

  T take() {
    check();
    const Future last = std::move(*this);  // gone at the end, as a moved-from value is
    if constexpr (!is_void) {
      if (last.task().box() == nullptr) {
        if (auto box = last.task().make_box()) {
          return std::move(static_cast<BoxOfValue&>(*box).value);
        }
        return detail::read_result<Value>(last.task());
      }
      if constexpr (std::is_copy_constructible_v<Value>) {
        if (!last.task().has_one_reference()) return last.boxed().value;
      }
      return std::move(last.boxed().value);
    }
  }

  auto get_until(detail::Deadline deadline) const {
    if constexpr (is_void) {
      if (!task().wait(deadline)) return false;
      check();
      return true;
    } else {
      if (!task().wait(deadline)) return std::optional<T>();
      return std::optional<T>(read());
    }
  }

  detail::TaskRef task_;
};

/// What multiprocessing calls a Future.
/// Python: multiprocessing.pool.AsyncResult.
template <typename T>
using AsyncResult = Future<T>;

/// What wait() waits for.
/// Python: FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED.
enum class ReturnWhen { first_completed, first_exception, all_completed };
using enum ReturnWhen;

/// What wait() found, each future once, in the order in which they were given.
template <typename T>
struct WaitResult {
  std::vector<Future<T>> done;
  std::vector<Future<T>> not_done;
};

namespace detail {

template <typename Range>
using FutureIn = std::remove_cvref_t<std::ranges::range_reference_t<Range>>;

template <typename Range>
concept FutureRange = std::ranges::input_range<Range> &&
                      std::same_as<FutureIn<Range>, Future<typename FutureIn<Range>::value_type>>;

/// Each once.
template <FutureRange Range>
auto distinct(Range&& futures) {
  std::vector<FutureIn<Range>> each;
  for (auto&& future : futures) {
    if (!future) complain_no_task();
    each.push_back(future);
  }
  std::vector<std::size_t> order(each.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto address = [&](std::size_t i) { return each[i].task_ref().get(); };
  std::ranges::stable_sort(order, std::less<>(), address);
  const auto [first, last] = std::ranges::unique(order, std::equal_to<>(), address);
  order.erase(first, last);
  std::ranges::sort(order);
  std::vector<FutureIn<Range>> once;
  once.reserve(order.size());
  for (const std::size_t i : order) once.push_back(std::move(each[i]));
  return once;
}

[[nodiscard]] KIN_EXPORT bool is_failed(Task& task);

template <FutureRange Range>
auto wait_until(Range&& futures, ReturnWhen when, Deadline deadline) {
  auto each = distinct(std::forward<Range>(futures));
  WaitResult<typename FutureIn<Range>::value_type> result;
  Arrivals arrivals;
  bool is_enough = false;
  const auto counts = [when](Task& task) {
    return when == first_completed || (when == first_exception && is_failed(task));
  };
  for (std::size_t i = 0; i < each.size(); ++i) {
    if (each[i].ready()) {
      is_enough = is_enough || counts(*each[i].task_ref());
    } else {
      arrivals.expect(each[i].task_ref(), i);
    }
  }
  while (!is_enough && arrivals.expected() != 0) {
    const auto next = arrivals.next(deadline);
    if (!next) break;
    is_enough = counts(*each[*next].task_ref());
  }
  for (auto& future : each) {
    (future.ready() ? result.done : result.not_done).push_back(std::move(future));
  }
  return result;
}

}  // namespace detail

/// Waits until the first of some futures is over, or the first with an exception, or all of them.
///
///     auto [done, not_done] = kin::wait(futures, kin::first_completed);
///
/// Python: concurrent.futures.wait().
template <detail::FutureRange Range>
auto wait(Range&& futures, ReturnWhen when = all_completed) {
  return detail::wait_until(std::forward<Range>(futures), when, detail::Deadline::never());
}
/// The same up to a limit. A negative duration means zero.
template <detail::FutureRange Range, typename Rep, typename Period>
auto wait(Range&& futures, std::chrono::duration<Rep, Period> limit,
          ReturnWhen when = all_completed) {
  return detail::wait_until(std::forward<Range>(futures), when, detail::Deadline::after(limit));
}

/// What as_completed() returns: an input range of futures, in the order in which they end.
template <typename T>
class CompletedRange {
 public:
  CompletedRange(std::vector<Future<T>> futures, detail::Deadline deadline)
      : futures_(std::move(futures)), total_(futures_.size()), deadline_(deadline) {
    for (std::size_t i = 0; i < futures_.size(); ++i) {
      arrivals_.expect(futures_[i].task_ref(), i);
    }
  }

  class Iterator {
   public:
    using value_type = Future<T>;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(CompletedRange& range) : range_(&range) { ++*this; }
    [[nodiscard]] Future<T>& operator*() const { return *current_; }
    Iterator& operator++() {
      current_.reset();
      current_ = range_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
      return !iterator.current_;
    }

   private:
    CompletedRange* range_;
    mutable std::optional<Future<T>> current_;
  };

  [[nodiscard]] Iterator begin() { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  std::optional<Future<T>> next() {
    if (arrivals_.expected() == 0) return std::nullopt;
    const auto number = arrivals_.next(deadline_);
    if (!number) {
      throw TimeoutError(std::to_string(arrivals_.expected()) + " (of " + std::to_string(total_) +
                         ") futures unfinished");
    }
    return std::exchange(futures_[*number], Future<T>());  // not kept alive here
  }

  std::vector<Future<T>> futures_;
  std::size_t total_;
  detail::Deadline deadline_;
  detail::Arrivals arrivals_;
};

/// The futures as they end, each once.
///
///     for (auto& done : kin::as_completed(futures)) std::cout << done.get() << '\n';
///
/// Python: concurrent.futures.as_completed().
template <detail::FutureRange Range>
[[nodiscard]] auto as_completed(Range&& futures) {
  using T = typename detail::FutureIn<Range>::value_type;
  return CompletedRange<T>(detail::distinct(std::forward<Range>(futures)),
                           detail::Deadline::never());
}
/// The same; the loop throws TimeoutError when one is not over so long after this call.
template <detail::FutureRange Range, typename Rep, typename Period>
[[nodiscard]] auto as_completed(Range&& futures, std::chrono::duration<Rep, Period> limit) {
  using T = typename detail::FutureIn<Range>::value_type;
  return CompletedRange<T>(detail::distinct(std::forward<Range>(futures)),
                           detail::Deadline::after(limit));
}

}  // namespace kin
