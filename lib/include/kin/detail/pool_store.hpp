// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/engine.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/hosted.hpp>
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
#include <string>
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

/// A pool in the server. Its callbacks, which nudge, run in its own thread there.
class KIN_EXPORT PoolStore {
 public:
  explicit PoolStore(PoolOptions options);
  ~PoolStore();
  PoolStore(const PoolStore&) = delete;
  PoolStore& operator=(const PoolStore&) = delete;

  void is_hosted_as(const Object& hosted) { nudge_.emplace(hosted); }
  [[nodiscard]] HostedPool& pool() noexcept { return pool_; }
  void close() { pool_.close(); }
  void terminate() { pool_.terminate(); }
  /// False while it has not ended; then who waits is nudged when it has. Throws std::logic_error while it is
  /// open.
  [[nodiscard]] bool join();
  [[nodiscard]] std::vector<pid_t> worker_pids() const { return pool_.worker_pids(); }

 private:
  HostedPool pool_;
  std::optional<Nudge> nudge_;
  std::thread joiner_;
};

/// The result of a task, as the server has it: given to whoever asks, as often as it is asked for.
template <typename R>
struct ResultStore {
  explicit ResultStore(Future<R> given) : future(std::move(given)) {}
  [[nodiscard]] bool is_ready() const { return future.ready(); }
  [[nodiscard]] bool is_successful() const { return future.successful(); }
  Future<R> future;
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
struct JoinPool {
  bool operator()(PoolStore& store, std::uint64_t /*process*/) const { return store.join(); }
};

template <typename Store, typename... Arguments>
[[nodiscard]] Handle host_here(Arguments&&... arguments) {
  return HostRoot().host(std::make_unique<HostedOf<Store>>(std::forward<Arguments>(arguments)...),
                         typeid(Store));
}

// What a managed::Pool has done in the server.

/// As managed::PoolOptions.
struct ManagedPoolOptions {
  std::optional<std::ptrdiff_t> processes = std::nullopt;
  std::optional<std::ptrdiff_t> max_tasks_per_child = std::nullopt;
  std::optional<std::size_t> max_memory_per_child = std::nullopt;
  std::string name = {};
};
/// As managed::MapOptions.
struct ManagedMapOptions {
  /// Items that make one task. If not given, a quarter of each worker's share; 1 for imap().
  std::optional<std::ptrdiff_t> chunk_size = std::nullopt;
};
[[nodiscard]] KIN_EXPORT Handle host_pool(ManagedPoolOptions options, Initializer initializer);

struct MakePool {
  Proxy<PoolStore> operator()(HostRoot& /*root*/, ManagedPoolOptions options) const {
    return Proxy<PoolStore>(host_pool(std::move(options), nullptr));
  }
};
struct MakePoolWith {
  template <typename F>
  Proxy<PoolStore> operator()(F& initializer, HostRoot& /*root*/,
                              ManagedPoolOptions options) const {
    return Proxy<PoolStore>(host_pool(std::move(options), initializer));
  }
};

template <typename R>
Proxy<ResultStore<R>> host_result(const Future<R>& future) {
  Handle handle = host_here<ResultStore<R>>(future);
  future.add_done_callback([nudge = Nudge(handle.object())](const Future<R>&) { nudge(); });
  return Proxy<ResultStore<R>>(std::move(handle));
}
struct StartTask {
  template <typename F, typename... As>
  auto operator()(F& function, PoolStore& store, As&&... arguments) const {
    return host_result(store.pool().apply_async(function, std::forward<As>(arguments)...));
  }
};
template <bool star>
struct StartMap {
  template <typename F, typename T>
  auto operator()(F& function, PoolStore& store, std::vector<T> items,
                  ManagedMapOptions options) const {
    if constexpr (star) {
      return host_result(store.pool().starmap_async({.chunk_size = options.chunk_size}, function,
                                                    std::move(items)));
    } else {
      return host_result(
          store.pool().map_async({.chunk_size = options.chunk_size}, function, std::move(items)));
    }
  }
};
template <bool as_done>
struct StartEach {
  template <typename F, typename T>
  auto operator()(F& function, PoolStore& store, std::vector<T> given,
                  ManagedMapOptions options) const {
    using R = ItemResult<false, F, T>;
    using Chunks = ProcessChunks<F, T, false>;
    ProcessEngine& engine = store.pool().engine();
    const std::size_t size = chunk_size_for(options.chunk_size.value_or(1), 1, 1);
    const Chunks chunks(engine, {}, function);
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
