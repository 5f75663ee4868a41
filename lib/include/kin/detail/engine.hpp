// SPDX-License-Identifier: BSL-1.0
#pragma once

// What a pool's templates need of an engine, for processes and for threads; and the parts that both
// share: options, callbacks, chunks of a range, the future of a map.

#include <kin/detail/callback.hpp>
#include <kin/detail/local_task.hpp>
#include <kin/detail/process_chunks.hpp>
#include <kin/detail/process_engine.hpp>
#include <kin/detail/process_tasks.hpp>
#include <kin/detail/thread_engine.hpp>
#include <kin/future.hpp>
#include <kin/progress.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin::detail {

template <typename Engine>
struct Work;

template <>
struct Work<ProcessEngine> {
  template <typename F, typename... As>
  using Call = CallMessage<F, As...>;
  template <typename F, typename T, bool star>
  using Chunks = ProcessChunks<F, T, star>;
  template <typename T>
  using Argument = ArgumentOf<T>;

  template <typename F, typename R, typename... As>
  static consteval void require() {
    require_portable_function<F>();
    (require_sendable<As>(), ...);
    if constexpr (!std::is_void_v<R>) require_sendable<R>();
  }
};

template <>
struct Work<ThreadEngine> {
  template <typename F, typename... As>
  using Call = ThreadCall<F, As...>;
  template <typename F, typename T, bool star>
  using Chunks = ThreadChunks<F, T, star>;
  template <typename T>
  using Argument = std::decay_t<T>;

  template <typename F, typename R, typename... As>
  static consteval void require() {}
};

template <typename Engine, typename F, typename... As>
using Call = typename Work<Engine>::template Call<std::decay_t<F>,
                                                  typename Work<Engine>::template Argument<As>...>;

template <typename Engine, typename F, typename... As>
using CallResult = ResultOf<std::decay_t<F>, typename Work<Engine>::template Argument<As>...>;

template <typename Engine, typename Range>
using ItemOf = typename Work<Engine>::template Argument<std::ranges::range_value_t<Range>>;

template <typename Engine, bool star, typename F, typename Range>
using ChunksOf =
    typename Work<Engine>::template Chunks<std::decay_t<F>, ItemOf<Engine, Range>, star>;

template <typename Engine, bool star, typename F, typename Range>
using RangeResult = ItemResult<star, std::decay_t<F>, ItemOf<Engine, Range>>;

/// The readable errors for what can't be given to a worker.
template <typename Engine, typename F, typename... As>
consteval void require_call() {
  constexpr bool can_be_called =
      std::is_invocable_v<std::decay_t<F>&, typename Work<Engine>::template Argument<As>...>;
  static_assert(
      can_be_called,
      "kin: the function can't be called with these arguments in a worker: it gets values "
      "of its own, text as std::string; a parameter can't be a T& or a const char*");
  if constexpr (can_be_called) {
    Work<Engine>::template require<std::decay_t<F>, CallResult<Engine, F, As...>,
                                   typename Work<Engine>::template Argument<As>...>();
  }
}

template <typename Engine, bool star, typename F, typename Range>
consteval void require_items() {
  using Function = std::decay_t<F>;
  using Item = ItemOf<Engine, Range>;
  constexpr bool can_be_called =
      requires(Function& function, Item item) { invoke_item<star>(function, std::move(item)); };
  static_assert(
      can_be_called,
      "kin: the function can't be called with the items of this range in a worker: it gets "
      "values of its own, text as std::string; a parameter can't be a T& or a const char*");
  if constexpr (can_be_called) {
    Work<Engine>::template require<Function, RangeResult<Engine, star, F, Range>, Item>();
  }
}

// ---- options

/// The results of a map of functions that return R.
template <typename R>
struct ListOfResults {
  using Type = std::vector<R>;
};
template <>
struct ListOfResults<void> {
  using Type = void;
};
template <typename R>
using ListOf = typename ListOfResults<R>::Type;

template <typename R>
struct CallbackFor {
  using Type = Callback<void(const R&)>;
};
template <>
struct CallbackFor<void> {
  using Type = Callback<void()>;
};
template <typename R>
using ResultCallback = typename CallbackFor<R>::Type;

/// Takes what went wrong as const std::exception&, or as std::exception_ptr.
class ErrorCallback {
 public:
  ErrorCallback() noexcept = default;
  ErrorCallback(std::nullptr_t) noexcept {}  // NOLINT: converts

  template <typename Callable>
    requires std::invocable<std::decay_t<Callable>&, std::exception_ptr> &&
             (!std::same_as<std::remove_cvref_t<Callable>, ErrorCallback>)
  ErrorCallback(Callable&& callable)  // NOLINT: converts
      : call_(std::forward<Callable>(callable)) {}

  template <typename Callable>
    requires std::invocable<std::decay_t<Callable>&, const std::exception&> &&
             (!std::invocable<std::decay_t<Callable>&, std::exception_ptr>)
  ErrorCallback(Callable&& callable)  // NOLINT: converts
      : call_([call = std::forward<Callable>(callable)](std::exception_ptr error) mutable {
          try {
            std::rethrow_exception(std::move(error));
          } catch (const std::exception& exception) {
            call(exception);
          }
        }) {}

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(call_); }
  void operator()(std::exception_ptr error) { call_(std::move(error)); }

 private:
  Callback<void(std::exception_ptr)> call_;
};

/// In milliseconds, rounded up. Throws std::invalid_argument unless it is above zero.
[[nodiscard]] KIN_EXPORT std::uint32_t limit_from(std::optional<std::chrono::nanoseconds> limit);
/// Throws std::invalid_argument for a negative number.
[[nodiscard]] KIN_EXPORT std::uint32_t retries_from(int retries);

template <typename Options>
TaskLimits limits_of(const Options& options) {
  return {.soft = limit_from(options.soft_timeout),
          .hard = limit_from(options.timeout),
          .retries = retries_from(options.retries)};
}

template <typename R>
void give_to(ResultCallback<R>& callback, Task& ended) {
  if constexpr (std::is_void_v<R>) {
    callback();
  } else {
    Future<R>::use_ended(ended, callback);
  }
}

/// Has the callbacks called when the task is over, before others see that it is.
template <typename R>
void call_back(const TaskRef& task, ResultCallback<R>& callback, ErrorCallback& error_callback) {
  if (!callback && !error_callback) return;
  if (!error_callback) {
    // Small enough to need no memory of its own.
    task->call_first([on_result = std::move(callback)](Task& ended) mutable {
      if (ended.stage() == Task::Stage::finished) give_to<R>(on_result, ended);
    });
    return;
  }
  task->call_first(
      [on_result = std::move(callback), on_error = std::move(error_callback)](Task& ended) mutable {
        if (ended.stage() != Task::Stage::finished) {
          on_error(ended.failure());
        } else if (on_result) {
          give_to<R>(on_result, ended);
        }
      });
}

// ---- ranges

/// 0 is refused; where nothing is said, each worker gets four chunks, as in Python.
[[nodiscard]] KIN_EXPORT std::size_t chunk_size_for(std::optional<std::ptrdiff_t> wanted,
                                                    std::size_t items, std::size_t workers);

/// A range whose items stand one behind the other.
template <typename T, bool owns>
class Gathered {
 public:
  using Part = std::span<std::conditional_t<owns, T, const T>>;

  Gathered(const T* first, std::size_t count)
    requires(!owns)
      : part_(first, count) {}
  explicit Gathered(Items<T> items)
    requires owns
      : items_(std::move(items)), part_(items_.data(), items_.size()) {}
  Gathered(const Gathered&) = delete;
  Gathered& operator=(const Gathered&) = delete;
  ~Gathered() = default;

  [[nodiscard]] std::size_t size() const noexcept { return part_.size(); }
  [[nodiscard]] Part part(std::size_t at, std::size_t count) const {
    return part_.subspan(at, count);
  }

 private:
  Items<T> items_;
  Part part_;
};

/// The items as T: where they stand, if they may be copied from there, else in a place of their own.
template <typename Engine, typename T, typename Range>
auto gather(Range&& range) {
  constexpr bool stands = std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
                          std::same_as<std::ranges::range_value_t<Range>, T> &&
                          std::same_as<Engine, ProcessEngine>;
  if constexpr (stands) {
    return Gathered<T, false>(std::ranges::data(range), std::ranges::size(range));
  } else {
    Items<T> items;
    if constexpr (std::ranges::sized_range<Range>) {
      items.reserve(static_cast<std::size_t>(std::ranges::size(range)));
    }
    for (auto&& item : range) items.push_back(T(std::forward<decltype(item)>(item)));
    return Gathered<T, true>(std::move(items));
  }
}

/// The future of a map: its chunks.
template <typename Chunks>
class MapTask final : public GroupTask {
 public:
  MapTask(std::vector<TaskRef> chunks, std::size_t count)
      : GroupTask(std::move(chunks)), count_(count) {}

  [[nodiscard]] std::unique_ptr<Box> make_box() override {
    using R = typename Chunks::Result;
    if constexpr (std::is_void_v<R>) {
      return std::make_unique<BoxOf<std::monostate>>();
    } else {
      std::vector<R> results;
      results.reserve(count_);
      for (const TaskRef& chunk : members()) Chunks::append(*chunk, results);
      return std::make_unique<BoxOf<std::vector<R>>>(std::move(results));
    }
  }

 private:
  std::size_t count_;  // of items
};

/// Tells `progress` whenever one of the chunks is over.
KIN_EXPORT void follow(Callback<void(const Progress&)>& progress, std::span<const TaskRef> chunks,
                       std::size_t items, std::size_t chunk_size);

}  // namespace kin::detail
