// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/zip.hpp>
#include <kin/pool.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

namespace kin {

/// How a ProcessPoolExecutor differs from the usual.
struct ProcessPoolExecutorOptions {
  /// How many workers; cpu_count() if not given.
  std::optional<std::ptrdiff_t> max_workers = std::nullopt;
  /// Called in each worker before its first task; see PoolOptions.
  detail::Initializer initializer = nullptr;
  /// A worker ends after so many tasks, and another takes its place.
  std::optional<std::ptrdiff_t> max_tasks_per_child = std::nullopt;
  /// Shown in messages; "Pool-1" and so on if empty.
  std::string name = {};
};

/// How a ThreadPoolExecutor differs from the usual.
struct ThreadPoolExecutorOptions {
  std::optional<std::ptrdiff_t> max_workers = std::nullopt;
  detail::Callback<void()> initializer = nullptr;
};

/// How an executor's map differs from the usual.
struct ExecutorMapOptions {
  /// The loop over the results throws TimeoutError when one is not there so long after the call.
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
  /// Items that make one task.
  std::ptrdiff_t chunk_size = 1;
  /// Items whose results were not taken yet, at most: so the inputs may be endless. Without it all items
  /// are submitted before map() returns.
  std::optional<std::ptrdiff_t> buffer_size = std::nullopt;
};

/// How an executor is shut down.
struct ShutdownOptions {
  /// Returns when all that was submitted is done, and the workers have ended.
  bool wait = true;
  /// What has not begun is cancelled.
  bool cancel_futures = false;
};

namespace detail {

/// What both executors have in common. Shared by those that are not waited for: at the end of the program
/// what was submitted is done all the same.
template <typename Engine>
class BasicExecutor {
 public:
  BasicExecutor(BasicExecutor&&) noexcept = default;
  BasicExecutor& operator=(BasicExecutor&& other) noexcept {
    if (this != &other) {
      end();
      engine_ = std::move(other.engine_);
    }
    return *this;
  }
  BasicExecutor(const BasicExecutor&) = delete;
  BasicExecutor& operator=(const BasicExecutor&) = delete;

  /// Has `function(arguments...)` called in a worker.
  template <typename F, typename... As>
  [[nodiscard]] auto submit(F&& function, As&&... arguments) {
    require_call<Engine, F, As...>();
    const TaskRef task = Call<Engine, F, As...>::hold(engine(), {}, std::forward<F>(function),
                                                      std::forward<As>(arguments)...);
    engine().queue(*task);
    return Future<CallResult<Engine, F, As...>>(task);
  }

  /// Calls `function` with an item of each range, until the shortest ends; returns an input range of the
  /// results, in order. What a call threw comes out at its place; one may go on behind it.
  /// Lifetime: refers to the ranges that are no rvalues, if there is a buffer_size.
  template <typename F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
  [[nodiscard]] auto map(F&& function, Ranges&&... ranges) {
    return map({}, std::forward<F>(function), std::forward<Ranges>(ranges)...);
  }
  template <typename F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
  [[nodiscard]] auto map(ExecutorMapOptions options, F&& function, Ranges&&... ranges) {
    if constexpr (sizeof...(Ranges) == 1) {
      return map_one<false>(options, std::forward<F>(function), std::forward<Ranges>(ranges)...);
    } else {
      using Zipped = Zip<Engine, std::views::all_t<Ranges>...>;
      return map_one<true>(options, std::forward<F>(function),
                           Zipped(std::views::all(std::forward<Ranges>(ranges))...));
    }
  }

  /// No more tasks. Again: nothing, but that it may wait.
  void shutdown(ShutdownOptions options = {}) {
    engine().close();
    if (options.cancel_futures) engine().cancel_pending();
    if (options.wait) static_cast<void>(engine().join(Deadline::never()));
  }

 protected:
  explicit BasicExecutor(std::shared_ptr<Engine> engine) : engine_(std::move(engine)) {
    finish_at_exit(engine_);
  }
  ~BasicExecutor() { end(); }

  [[nodiscard]] Engine& engine() const {
    if (!engine_) throw std::logic_error("kin: an executor was used after it was moved from");
    return *engine_;
  }

 private:
  void end() noexcept {
    if (engine_) engine_->finish();
  }

  template <bool star, typename F, typename Range>
  auto map_one(ExecutorMapOptions options, F&& function, Range&& items) {
    require_items<Engine, star, F, Range>();
    using Chunks = ChunksOf<Engine, star, F, Range>;
    const std::size_t size = chunk_size_for(options.chunk_size, 1, 1);
    ResultRangeOptions how{
        .order = Order::as_given, .chunk_size = size, .window = SIZE_MAX, .is_always_full = true};
    if (options.buffer_size)
      how.window = (chunk_size_for(options.buffer_size, 1, 1) + size - 1) / size;
    if (options.timeout) how.deadline = Deadline::after(*options.timeout);
    ResultRange<Engine, Chunks, std::views::all_t<Range>> results(
        engine_, Chunks(engine(), {}, std::forward<F>(function)),
        std::views::all(std::forward<Range>(items)), how);
    results.prefetch();
    return results;
  }

  std::shared_ptr<Engine> engine_;
};

}  // namespace detail

/// Worker processes behind the interface of concurrent.futures. The same workers, functions, arguments and
/// failures as Pool's: a worker's death costs the one task that it ran.
///
///     kin::ProcessPoolExecutor executor(4);
///     kin::Future<int> future = executor.submit(square, 7);
///     for (int one : executor.map(square, numbers)) …
///
/// Lifetime: its destructor is shutdown(): it waits until all that was submitted is done. After
/// shutdown({.wait = false}) it does not, and the rest is done in the background; at the end of the
/// program it is waited for.
/// Sharing, after fork, if a process dies, throws: as Pool. std::logic_error for a submit after
/// shutdown().
/// Python: concurrent.futures.ProcessPoolExecutor.
class ProcessPoolExecutor : public detail::BasicExecutor<detail::ProcessEngine> {
 public:
  ProcessPoolExecutor() : ProcessPoolExecutor(ProcessPoolExecutorOptions{}) {}
  explicit ProcessPoolExecutor(std::ptrdiff_t max_workers)
      : ProcessPoolExecutor(ProcessPoolExecutorOptions{.max_workers = max_workers}) {}
  explicit ProcessPoolExecutor(ProcessPoolExecutorOptions options)
      : BasicExecutor(detail::start_workers({.processes = options.max_workers,
                                             .initializer = std::move(options.initializer),
                                             .max_tasks_per_child = options.max_tasks_per_child,
                                             .name = std::move(options.name)})) {}

  /// Ends the workers with SIGTERM (and a second later SIGKILL), whatever they do, and shuts down. What is
  /// not done ends with CancelledError.
  void terminate_workers() {
    engine().terminate();
    static_cast<void>(engine().join(detail::Deadline::never()));
  }
  /// The same with SIGKILL at once.
  void kill_workers() {
    engine().kill();
    static_cast<void>(engine().join(detail::Deadline::never()));
  }

  /// The pids of the workers that live.
  [[nodiscard]] std::vector<pid_t> worker_pids() const { return engine().worker_pids(); }
  /// What its workers have done so far.
  [[nodiscard]] PoolStatistics statistics() const { return engine().statistics(); }
};

/// Threads of this process behind the same interface.
/// Python: concurrent.futures.ThreadPoolExecutor.
class ThreadPoolExecutor : public detail::BasicExecutor<detail::ThreadEngine> {
 public:
  ThreadPoolExecutor() : ThreadPoolExecutor(ThreadPoolExecutorOptions{}) {}
  explicit ThreadPoolExecutor(std::ptrdiff_t max_workers)
      : ThreadPoolExecutor(ThreadPoolExecutorOptions{.max_workers = max_workers}) {}
  explicit ThreadPoolExecutor(ThreadPoolExecutorOptions options)
      : BasicExecutor(
            detail::ThreadEngine::start({.workers = options.max_workers.value_or(cpu_count()),
                                         .initializer = std::move(options.initializer)})) {}
};

}  // namespace kin
