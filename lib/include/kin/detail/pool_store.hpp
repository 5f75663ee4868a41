// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/engine.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/hosted.hpp>
#include <kin/detail/managed_pool_options.hpp>
#include <kin/detail/outcomes.hpp>
#include <kin/detail/process_chunks.hpp>
#include <kin/detail/process_engine.hpp>
#include <kin/detail/task.hpp>
#include <kin/future.hpp>
#include <kin/pool.hpp>
#include <kin/proxy.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace kin::detail {

struct ManagerState;

/// Has the calls that wait at an object tried again: from other threads of the server's process, where what
/// they wait for is there.
class KIN_EXPORT Nudge {
 public:
  explicit Nudge(const Object& hosted) noexcept;
  void operator()() const noexcept;

 private:
  ManagerState* state_;
  std::uint32_t index_;
  std::uint32_t generation_;
};

/// A pool whose workers can be given chunks.
class HostedPool : public Pool {
 public:
  using Pool::engine;
  using Pool::Pool;
};

/// A task in a manager's server, somebody of whose callbacks is to be called.
class KIN_EXPORT CalledBack {
 public:
  CalledBack(const CalledBack&) = delete;
  CalledBack& operator=(const CalledBack&) = delete;
  virtual ~CalledBack() = default;

  /// The server's thread, when the task may be over. Calls it if so; once. What it throws is logged.
  void settle() noexcept;

 protected:
  explicit CalledBack(TaskRef task) noexcept : task_(std::move(task)) {}

 private:
  virtual void call(Task& ended) = 0;

  TaskRef task_;
  bool is_settled_ = false;
};

template <typename R>
class CalledBackOf final : public CalledBack {
 public:
  template <typename Options>
  CalledBackOf(TaskRef task, const Options& options) : CalledBack(std::move(task)) {
    if (options.callback) callback_ = options.callback.target();
    if (options.error_callback) error_callback_ = options.error_callback.target();
  }

 private:
  void call(Task& ended) override {
    // What they hold is let go of behind that, however long somebody keeps the result.
    auto callback = std::move(callback_);
    auto error_callback = std::move(error_callback_);
    if (ended.stage() != Task::Stage::finished) {
      if (error_callback) error_callback(ended.failure());
    } else if (callback) {
      give_to<R>(callback, ended);
    }
  }

  ResultCallback<R> callback_;
  ErrorCallback error_callback_;
};

/// Tasks of a pool that are over and whose callbacks the server's thread is to call: others tell it by a nudge.
class CallsDue;

/// A pool in the server. What it calls in its own thread there only nudges.
class KIN_EXPORT PoolStore {
 public:
  explicit PoolStore(PoolOptions options);
  ~PoolStore();
  PoolStore(const PoolStore&) = delete;
  PoolStore& operator=(const PoolStore&) = delete;

  void is_hosted_as(const Object& hosted);
  [[nodiscard]] HostedPool& pool() noexcept { return *pool_; }
  void close() { pool_->close(); }
  void terminate() { pool_->terminate(); }
  /// False while it has not ended; then who waits is nudged when it has. Throws std::logic_error while it is
  /// open.
  [[nodiscard]] bool join();
  [[nodiscard]] std::vector<pid_t> worker_pids() const { return pool_->worker_pids(); }
  /// The server's thread was told to look.
  void nudged(Nudged what) noexcept;
  /// Has it called by the server's thread, which need not be this one, soon.
  [[nodiscard]] Callback<void()> when_over(std::shared_ptr<CalledBack> called_back) const;

 private:
  std::unique_ptr<HostedPool> pool_;
  std::optional<Nudge> nudge_;
  std::shared_ptr<CallsDue> due_;
  std::thread joiner_;
};

/// The result of a task, as the server has it: given to whoever asks, as often as it is asked for.
template <typename R>
struct ResultStore {
  ResultStore(Future<R> given, std::shared_ptr<CalledBack> its)
      : future(std::move(given)), called_back(std::move(its)) {}
  [[nodiscard]] bool is_ready() const {
    const bool is_over = future.ready();
    // Nobody sees that it is over before the callback has run.
    if (is_over && called_back) called_back->settle();
    return is_over;
  }
  [[nodiscard]] bool is_successful() const {
    static_cast<void>(is_ready());
    return future.successful();
  }
  Future<R> future;
  std::shared_ptr<CalledBack> called_back;  // null where it has no callbacks
};

/// The results of several, which are given one by one.
template <typename R>
struct ResultsStore {
  using Read = TakenOutcomes<R> (*)(const TaskRef& chunk);
  ResultsStore(std::deque<TaskRef> given, Read how, bool any)
      : chunks(std::move(given)), read(how), as_done(any) {}

  /// Goes on with a chunk that is over. False where there is none.
  bool begin_next_chunk() {
    auto at = chunks.begin();
    if (as_done)
      at = std::ranges::find_if(chunks, [](const TaskRef& it) { return it->is_ready(); });
    if (at == chunks.end() || !(*at)->is_ready()) return false;
    const TaskRef chunk = std::move(*at);
    chunks.erase(at);
    place = 0;
    // One that was cancelled, or whose worker died, has one outcome.
    outcomes =
        chunk->stage() == Task::Stage::finished ? read(chunk) : TakenOutcomes<R>(chunk->failure());
    return true;
  }

  std::deque<TaskRef> chunks;  // of whose results none was given yet
  Read read;
  TakenOutcomes<R> outcomes;  // of a chunk of which some were
  std::size_t place = 0;      // of the next of these
  std::deque<R> returned;     // by clients that did not live to have them
  bool as_done;               // and not in the order of the items
};

template <typename R>
struct TakeResult {
  auto operator()(ResultStore<R>& store, std::uint64_t /*process*/) const {
    if constexpr (std::is_void_v<R>) {
      if (!store.is_ready()) return false;
      store.future.get();
      return true;
    } else {
      return store.is_ready() ? std::optional<R>(store.future.get()) : std::nullopt;
    }
  }
};
template <typename R>
struct AwaitResult {
  bool operator()(const ResultStore<R>& store, std::uint64_t /*process*/) const {
    return store.is_ready();
  }
};
/// One; or none, behind the last.
template <typename R>
struct TakeNext {
  using Next = std::vector<R>;
  std::optional<Next> operator()(ResultsStore<R>& store, std::uint64_t /*process*/) const {
    Next next;
    if (!store.returned.empty()) {
      next.push_back(std::move(store.returned.front()));
      store.returned.pop_front();
    } else if (store.place < store.outcomes.size() || store.begin_next_chunk()) {
      const std::size_t place = store.place++;  // also of one that throws
      next.push_back(std::move(store.outcomes.at(place)));
    } else if (!store.chunks.empty()) {
      return std::nullopt;
    }
    return next;
  }
  static void take_back(ResultsStore<R>& store, std::uint64_t /*process*/, Next next) {
    if (!next.empty()) store.returned.push_front(std::move(next.front()));
  }
};

template <typename Store, typename... Arguments>
[[nodiscard]] Handle host_here(Arguments&&... arguments) {
  return HostRoot().host(std::make_unique<HostedOf<Store>>(std::forward<Arguments>(arguments)...),
                         typeid(Store));
}

// What a managed::Pool has done in the server.

[[nodiscard]] KIN_EXPORT Handle host_pool(managed::PoolOptions options, Initializer initializer);

struct MakePoolWith {
  template <typename F>
  Proxy<PoolStore> operator()(F& initializer, HostRoot& /*root*/,
                              managed::PoolOptions options) const {
    return Proxy<PoolStore>(host_pool(std::move(options), initializer));
  }
};

template <typename R>
Proxy<ResultStore<R>> host_result(const PoolStore& store, const Future<R>& future,
                                  const std::shared_ptr<CalledBack>& called_back = nullptr) {
  Handle handle = host_here<ResultStore<R>>(future, called_back);
  if (called_back) future.task_ref()->observe(store.when_over(called_back));
  future.task_ref()->observe([nudge = Nudge(handle.object())] { nudge(); });
  return Proxy<ResultStore<R>>(std::move(handle));
}
template <typename R, typename Options>
Proxy<ResultStore<R>> host_result(const PoolStore& store, const Future<R>& future,
                                  const Options& options) {
  std::shared_ptr<CalledBack> called_back;
  if (options.callback || options.error_callback) {
    called_back = std::make_shared<CalledBackOf<R>>(future.task_ref(), options);
  }
  return host_result(store, future, called_back);
}
struct StartTask {
  template <typename F, typename... As>
  auto operator()(F& function, PoolStore& store, As&&... arguments) const {
    return host_result(store, store.pool().apply_async(function, std::forward<As>(arguments)...));
  }
};
struct StartTaskWith {
  template <typename F, typename R, typename... As>
  auto operator()(F& function, PoolStore& store, managed::CallOptions<R> options,
                  As&&... arguments) const {
    return host_result(store,
                       store.pool().apply_async({.timeout = options.timeout,
                                                 .soft_timeout = options.soft_timeout,
                                                 .retries = options.retries},
                                                function, std::forward<As>(arguments)...),
                       options);
  }
};
template <bool star>
struct StartMap {
  template <typename F, typename T, typename R>
  auto operator()(F& function, PoolStore& store, std::vector<T> items,
                  managed::MapOptions<R> options) const {
    kin::MapOptions<R> here{.chunk_size = options.chunk_size,
                            .timeout = options.timeout,
                            .soft_timeout = options.soft_timeout,
                            .retries = options.retries};
    if constexpr (star) {
      return host_result(
          store, store.pool().starmap_async(std::move(here), function, std::move(items)), options);
    } else {
      return host_result(store, store.pool().map_async(std::move(here), function, std::move(items)),
                         options);
    }
  }
};
template <bool as_done>
struct StartEach {
  template <typename F, typename T, typename R>
  auto operator()(F& function, PoolStore& store, std::vector<T> given,
                  managed::MapOptions<R> options) const {
    using Chunks = ProcessChunks<F, T, false>;
    ProcessEngine& engine = store.pool().engine();
    const std::size_t size = chunk_size_for(options.chunk_size.value_or(1), 1, 1);
    if (options.callback || options.error_callback) {
      throw std::invalid_argument("kin: imap() has no callbacks: its results are taken in a loop");
    }
    const Chunks chunks(engine, limits_of(options), function);
    const Items<T> items(std::make_move_iterator(given.begin()),
                         std::make_move_iterator(given.end()));
    std::deque<TaskRef> all;
    for (std::size_t at = 0; at < items.size(); at += size) {
      const std::size_t count = std::min(size, items.size() - at);
      all.push_back(chunks.hold_each(std::span<const T>(items.data() + at, count)));
      engine.queue(*all.back());
    }
    const std::deque<TaskRef> tasks = all;
    Handle handle = host_here<ResultsStore<R>>(std::move(all), Chunks::outcomes, as_done);
    for (const TaskRef& task : tasks) {
      task->observe([nudge = Nudge(handle.object())] { nudge(); });
    }
    return Proxy<ResultsStore<R>>(std::move(handle));
  }
};

}  // namespace kin::detail
