// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/engine.hpp>
#include <kin/detail/initializer.hpp>
#include <kin/detail/result_range.hpp>
#include <kin/future.hpp>
#include <kin/process.hpp>
#include <kin/progress.hpp>

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace kin {

/// How a Pool differs from the usual.
struct PoolOptions {
  /// How many workers; cpu_count() if not given.
  std::optional<std::ptrdiff_t> processes = std::nullopt;
  /// Called in each worker before its first task. Any callable: fork carries it. Ends of pipes that it is
  /// to use it has to capture by value; others are closed in workers.
  detail::Initializer initializer = nullptr;
  /// A worker ends after so many tasks (of a map: chunks), and another takes its place.
  std::optional<std::ptrdiff_t> max_tasks_per_child = std::nullopt;
  /// The same for one that has more bytes in memory than this when a task is done.
  std::optional<std::size_t> max_memory_per_child = std::nullopt;
  /// Shown in messages; "Pool-1" and so on if empty.
  std::string name = {};
};

/// How a ThreadPool differs from the usual.
struct ThreadPoolOptions {
  /// How many threads; cpu_count() if not given.
  std::optional<std::ptrdiff_t> threads = std::nullopt;
  /// Called in each thread before its first task.
  detail::Callback<void()> initializer = nullptr;
};

/// How one call differs from the usual.
template <typename R>
struct CallOptions {
  /// Called with the result, `const R&`; without arguments where there is none.
  detail::ResultCallback<R> callback = nullptr;
  /// Called with what went wrong, as `const std::exception&` or as std::exception_ptr.
  detail::ErrorCallback error_callback = nullptr;
  /// A call that runs for longer is ended, with its worker: TimeoutError. Processes only.
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
  /// After that time stop_requested() turns true in the call, and calls of kin's that would wait there
  /// throw TimeoutError.
  std::optional<std::chrono::nanoseconds> soft_timeout = std::nullopt;
  /// How often it runs again when its worker dies. Processes only.
  int retries = 0;
};

/// How a map differs from the usual. Limits are each item's.
template <typename R>
struct MapOptions {
  /// Items that make one task. If not given, a quarter of each worker's share; 1 for imap().
  std::optional<std::ptrdiff_t> chunk_size = std::nullopt;
  /// Called once, with all results, `const std::vector<R>&`.
  detail::ResultCallback<detail::ListOf<R>> callback = nullptr;
  detail::ErrorCallback error_callback = nullptr;
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
  std::optional<std::chrono::nanoseconds> soft_timeout = std::nullopt;
  int retries = 0;
  /// Told whenever a chunk is done; see progress.hpp.
  detail::Callback<void(const Progress&)> progress = nullptr;
};

namespace detail {

[[nodiscard]] inline std::shared_ptr<ProcessEngine> start_workers(PoolOptions options) {
  PoolSettings settings{.workers = options.processes.value_or(cpu_count()),
                        .initializer = std::move(options.initializer),
                        .max_tasks = options.max_tasks_per_child.value_or(0),
                        .max_memory = options.max_memory_per_child.value_or(0),
                        .name = std::move(options.name)};
  if (options.max_tasks_per_child == 0) settings.max_tasks = -1;  // is refused
  return ProcessEngine::start(std::move(settings));
}

/// What Pool and ThreadPool have in common: the ways to give work away.
template <typename Engine>
class BasicPool {
  template <typename F, typename... As>
  using ResultOfCall = CallResult<Engine, F, As...>;
  template <bool star, typename F, typename Range>
  using ResultOfItem = RangeResult<Engine, star, F, Range>;

 public:
  BasicPool(BasicPool&&) noexcept = default;
  BasicPool& operator=(BasicPool&& other) noexcept {
    if (this != &other) {
      end();
      engine_ = std::move(other.engine_);
    }
    return *this;
  }
  BasicPool(const BasicPool&) = delete;
  BasicPool& operator=(const BasicPool&) = delete;

  /// Calls `function(arguments...)` in a worker and waits for the result.
  template <typename F, typename... As>
  auto apply(F&& function, As&&... arguments) {
    return result_of(apply_async(std::forward<F>(function), std::forward<As>(arguments)...));
  }
  template <typename F, typename... As>
  auto apply(CallOptions<ResultOfCall<F, As...>> options, F&& function, As&&... arguments) {
    return result_of(
        apply_async(std::move(options), std::forward<F>(function), std::forward<As>(arguments)...));
  }

  /// The same without waiting.
  template <typename F, typename... As>
  auto apply_async(F&& function, As&&... arguments) {
    require_call<Engine, F, As...>();
    const TaskRef task = Call<Engine, F, As...>::hold(engine(), {}, std::forward<F>(function),
                                                      std::forward<As>(arguments)...);
    engine().queue(*task);
    return Future<ResultOfCall<F, As...>>(task);
  }
  template <typename F, typename... As>
  auto apply_async(CallOptions<ResultOfCall<F, As...>> options, F&& function, As&&... arguments) {
    require_call<Engine, F, As...>();
    const TaskRef task = Call<Engine, F, As...>::hold(
        engine(), limits_of(options), std::forward<F>(function), std::forward<As>(arguments)...);
    call_back<ResultOfCall<F, As...>>(task, options.callback, options.error_callback);
    queue_called_back(task);
    return Future<ResultOfCall<F, As...>>(task);
  }

  /// Calls `function(item)` for each item of a range, in several workers, and waits for all results: a
  /// vector in the order of the items, or nothing where the function returns nothing. Throws what the
  /// first item in that order threw; the others are run all the same, but for those that follow it in its
  /// chunk.
  template <typename F, std::ranges::input_range Range>
  auto map(F&& function, Range&& items) {
    return result_of(map_async(std::forward<F>(function), std::forward<Range>(items)));
  }
  template <typename F, std::ranges::input_range Range>
  auto map(MapOptions<ResultOfItem<false, F, Range>> options, F&& function, Range&& items) {
    return result_of(
        map_async(std::move(options), std::forward<F>(function), std::forward<Range>(items)));
  }
  template <typename F, typename T>
  auto map(F&& function, std::initializer_list<T> items) {
    return result_of(map_async(std::forward<F>(function), items));
  }
  template <typename F, typename T>
  auto map(MapOptions<ResultOfItem<false, F, std::initializer_list<T>>> options, F&& function,
           std::initializer_list<T> items) {
    return result_of(map_async(std::move(options), std::forward<F>(function), items));
  }

  /// The same without waiting. The items are read before it returns.
  template <typename F, std::ranges::input_range Range>
  auto map_async(F&& function, Range&& items) {
    return map_all<false>({}, std::forward<F>(function), std::forward<Range>(items));
  }
  template <typename F, std::ranges::input_range Range>
  auto map_async(MapOptions<ResultOfItem<false, F, Range>> options, F&& function, Range&& items) {
    return map_all<false>(std::move(options), std::forward<F>(function),
                          std::forward<Range>(items));
  }
  template <typename F, typename T>
  auto map_async(F&& function, std::initializer_list<T> items) {
    return map_all<false>({}, std::forward<F>(function), items);
  }

  /// As map(), where each item is a tuple of the function's arguments.
  template <typename F, std::ranges::input_range Range>
  auto starmap(F&& function, Range&& items) {
    return result_of(starmap_async(std::forward<F>(function), std::forward<Range>(items)));
  }
  template <typename F, std::ranges::input_range Range>
  auto starmap(MapOptions<ResultOfItem<true, F, Range>> options, F&& function, Range&& items) {
    return result_of(
        starmap_async(std::move(options), std::forward<F>(function), std::forward<Range>(items)));
  }
  template <typename F, typename T>
  auto starmap(F&& function, std::initializer_list<T> items) {
    return result_of(map_all<true>({}, std::forward<F>(function), items));
  }
  template <typename F, std::ranges::input_range Range>
  auto starmap_async(F&& function, Range&& items) {
    return map_all<true>({}, std::forward<F>(function), std::forward<Range>(items));
  }
  template <typename F, std::ranges::input_range Range>
  auto starmap_async(MapOptions<ResultOfItem<true, F, Range>> options, F&& function,
                     Range&& items) {
    return map_all<true>(std::move(options), std::forward<F>(function), std::forward<Range>(items));
  }

  /// The results one by one, in the order of the items, while later items are still being worked on. The
  /// items are read as results are taken, a window ahead: the range may be endless.
  ///
  ///     for (int one : pool.imap(square, std::views::iota(0))) …
  ///
  /// What an item threw comes out at its place; one may go on behind it.
  /// Lifetime: refers to `items` unless that is an rvalue.
  /// Throws: std::invalid_argument for a callback or `.progress` in the options: the loop has the results.
  template <typename F, std::ranges::input_range Range>
  [[nodiscard]] auto imap(F&& function, Range&& items) {
    return imap_all({}, Order::as_given, std::forward<F>(function), std::forward<Range>(items));
  }
  template <typename F, std::ranges::input_range Range>
  [[nodiscard]] auto imap(MapOptions<ResultOfItem<false, F, Range>> options, F&& function,
                          Range&& items) {
    return imap_all(std::move(options), Order::as_given, std::forward<F>(function),
                    std::forward<Range>(items));
  }
  /// The same, in the order in which the results come.
  template <typename F, std::ranges::input_range Range>
  [[nodiscard]] auto imap_unordered(F&& function, Range&& items) {
    return imap_all({}, Order::as_done, std::forward<F>(function), std::forward<Range>(items));
  }
  template <typename F, std::ranges::input_range Range>
  [[nodiscard]] auto imap_unordered(MapOptions<ResultOfItem<false, F, Range>> options, F&& function,
                                    Range&& items) {
    return imap_all(std::move(options), Order::as_done, std::forward<F>(function),
                    std::forward<Range>(items));
  }

  /// No more tasks; those that were given are done. Again: nothing.
  void close() { engine().close(); }
  /// Nothing more is done. What is pending or runs ends with CancelledError; workers are sent SIGTERM,
  /// and a second later SIGKILL. (Threads can't be ended: what runs there runs on.) Again: nothing.
  void terminate() noexcept {
    if (engine_) engine_->terminate();
  }
  /// Waits until all workers have ended, and all callbacks were called. std::logic_error before close()
  /// or terminate(), and in a callback.
  void join() { static_cast<void>(engine().join(Deadline::never())); }
  /// False when it takes longer.
  template <typename Rep, typename Period>
  bool join_for(std::chrono::duration<Rep, Period> limit) {
    return engine().join(Deadline::after(limit));
  }

 protected:
  explicit BasicPool(std::shared_ptr<Engine> engine) noexcept : engine_(std::move(engine)) {}
  ~BasicPool() { end(); }

  [[nodiscard]] Engine& engine() const {
    if (!engine_) throw std::logic_error("kin: a pool was used after it was moved from");
    return *engine_;
  }

 private:
  void end() noexcept {
    if (engine_) engine_->end();
  }

  // A thread uses what lies on the caller's stack: so a soft limit does not end the wait for it.
  template <typename T>
  static T result_of(Future<T> future) {
    if constexpr (std::same_as<Engine, ThreadEngine>) future.task_ref()->wait_out();
    return std::move(future).get();
  }

  void queue_called_back(const TaskRef& task) {
    try {
      engine().queue(*task);
    } catch (...) {
      task->drop_observers();
      throw;
    }
  }

  template <bool star, typename F, typename Range>
  auto map_all(MapOptions<ResultOfItem<star, F, Range>> options, F&& function, Range&& items) {
    require_items<Engine, star, F, Range>();
    using R = ResultOfItem<star, F, Range>;
    using Chunks = ChunksOf<Engine, star, F, Range>;
    Chunks chunks(engine(), limits_of(options), std::forward<F>(function));
    auto gathered = gather<Engine, typename Chunks::Item>(std::forward<Range>(items));
    const std::size_t size =
        chunk_size_for(options.chunk_size, gathered.size(), engine().workers());
    // Workers begin with the first chunk while the others are made; unless somebody has to be told of each.
    const bool is_observed = options.progress || options.callback || options.error_callback;
    std::vector<TaskRef> tasks;
    tasks.reserve(gathered.size() / size + 1);
    for (std::size_t at = 0; at < gathered.size(); at += size) {
      tasks.push_back(chunks.hold(gathered.part(at, std::min(size, gathered.size() - at))));
      if (!is_observed) engine().queue(*tasks.back());
    }
    follow(options.progress, tasks, gathered.size(), size);
    const std::vector<TaskRef> held = is_observed ? tasks : std::vector<TaskRef>();
    const TaskRef map(*new MapTask<Chunks>(std::move(tasks), gathered.size()));
    if (options.callback || options.error_callback) {
      call_back<ListOf<R>>(map, options.callback, options.error_callback);
    }
    try {
      for (const TaskRef& task : held) engine().queue(*task);
    } catch (...) {
      for (const TaskRef& task : held) task->drop_observers();
      map->drop_observers();
      throw;
    }
    return Future<ListOf<R>>(map);
  }

  template <typename F, typename Range>
  auto imap_all(MapOptions<ResultOfItem<false, F, Range>> options, Order order, F&& function,
                Range&& items) {
    require_items<Engine, false, F, Range>();
    using Chunks = ChunksOf<Engine, false, F, Range>;
    if (options.callback || options.error_callback || options.progress) {
      throw std::invalid_argument(
          "kin: imap() has no callbacks and no progress: its results are taken in a loop");
    }
    const std::size_t size = chunk_size_for(options.chunk_size.value_or(1), 1, 1);
    return ResultRange<Engine, Chunks, std::views::all_t<Range>>(
        engine_, Chunks(engine(), limits_of(options), std::forward<F>(function)),
        std::views::all(std::forward<Range>(items)),
        {.order = order, .chunk_size = size, .window = usual_window(engine().workers())});
  }

  std::shared_ptr<Engine> engine_;
};

}  // namespace detail

/// Worker processes that are given calls to do.
///
///     int square(int x) { return x * x; }
///     …
///     kin::Pool pool(4);
///     int nine = pool.apply(square, 3);
///     std::vector<int> all = pool.map(square, std::views::iota(0, 100));
///     kin::Future<int> later = pool.apply_async(square, 7);
///
/// A call costs about what handing it to a thread would, and often less. Functions are what may travel:
/// functions, member pointers, lambdas whose captures are trivially copyable (by value: one that
/// captured an address of this process is refused), classes with a Boost `serialize`, and
/// kin::partial(function, value...). Arguments and results are what may be sent in a message.
///
/// The workers are forked when the pool is made, by a process of the pool's own, its nursery: they see
/// the memory as it was then. Make pools before threads; a warning in the log says so.
///
/// Lifetime: its destructor terminates it. Ends in bounded time, whatever its workers do.
/// Sharing: thread-safe; parent-only.
/// After fork: the child's copy throws std::logic_error, its destructor does nothing.
/// If a process dies: a worker's death concerns the one task that it ran, which fails with WorkerDied, or
/// runs again if it has `retries`; another worker takes its place. When this process dies all workers
/// do. When the nursery is killed all workers die, and all that is pending fails with BrokenPool.
/// Throws: SystemError where the kernel refuses; std::invalid_argument for less than one process;
/// std::logic_error for a task after close(); BrokenPool when workers can't start, since the initializer
/// throws again and again.
/// Python: multiprocessing.Pool.
class Pool : public detail::BasicPool<detail::ProcessEngine> {
 public:
  Pool() : Pool(PoolOptions{}) {}
  explicit Pool(std::ptrdiff_t processes) : Pool(PoolOptions{.processes = processes}) {}
  explicit Pool(PoolOptions options) : BasicPool(detail::start_workers(std::move(options))) {}

  /// The pids of the workers that live.
  [[nodiscard]] std::vector<pid_t> worker_pids() const { return engine().worker_pids(); }
  /// What its workers have done so far.
  [[nodiscard]] PoolStatistics statistics() const { return engine().statistics(); }
};

/// Threads of this process that are given calls to do: the same interface, for work that waits more than
/// it computes, or whose data can't travel. Any callable and any arguments do.
///
/// Callbacks run in the thread that ran the call.
/// Python: multiprocessing.pool.ThreadPool.
class ThreadPool : public detail::BasicPool<detail::ThreadEngine> {
 public:
  ThreadPool() : ThreadPool(ThreadPoolOptions{}) {}
  explicit ThreadPool(std::ptrdiff_t threads) : ThreadPool(ThreadPoolOptions{.threads = threads}) {}
  explicit ThreadPool(ThreadPoolOptions options)
      : BasicPool(detail::ThreadEngine::start({.workers = options.threads.value_or(cpu_count()),
                                               .initializer = std::move(options.initializer)})) {}
};

}  // namespace kin
