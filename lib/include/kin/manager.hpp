// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/detail/hosted.hpp>
#include <kin/detail/make_hosted.hpp>
#include <kin/detail/managed_dict.hpp>
#include <kin/detail/managed_list.hpp>
#include <kin/detail/managed_name_space.hpp>
#include <kin/detail/managed_pool.hpp>
#include <kin/detail/managed_queue.hpp>
#include <kin/detail/managed_set.hpp>
#include <kin/detail/managed_sync.hpp>
#include <kin/detail/managed_value.hpp>
#include <kin/detail/manager_engine.hpp>
#include <kin/error.hpp>
#include <kin/listener.hpp>
#include <kin/proxy.hpp>
#include <kin/sync.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin {

/// How a Manager differs from the usual.
struct ManagerOptions {
  /// Shown in messages; "Manager-1" and so on if empty.
  std::string name = {};
  /// Called in the server, first of all.
  detail::Initializer initializer = {};
  /// Where other programs may connect(), as for a Listener; empty: nowhere.
  std::string address = {};
  /// Which they have to know. Without one, an address can only be a Unix socket's, and only processes of the
  /// same user are let in.
  std::string authkey = {};
  /// Bytes of a call's arguments from outside. Who sends more is dropped.
  std::size_t max_message = std::size_t{1} << 30;
};

/// A server process that holds objects of any type, and lets all kin call their functions.
///
///     kin::Manager manager;
///     auto numbers = manager.make<std::vector<int>>();
///     kin::Process child([numbers] {
///       numbers.apply([](std::vector<int>& all, int one) { all.push_back(one); }, 42);
///     });
///     child.start();
///     child.join();
///     std::vector<int> all = numbers.copy();  // {42}
///
/// The server is forked when the manager is made, and has the program's memory as it was then. It has one
/// thread: a call that takes long keeps the others waiting.
///
/// With an address it is open to other programs, which connect() to it, and call what both have exposed; see
/// kin/expose.hpp.
///
/// Lifetime: movable. The server ends with shutdown(), at the end of the Manager's scope, and with the
/// process that made it, however that ends. What it holds ends with it.
/// Sharing: thread-safe; process-safe but for shutdown(): a child's copy makes objects, too.
/// After fork: the child's copy works; its end does nothing.
/// If a process dies: the server frees what a dead client held: its proxies, its locks. When the server
/// dies, calls throw ManagerDied.
/// Throws: ManagerDied, also when the initializer threw; SystemError where there can be no process.
/// Python: multiprocessing.Manager(), and BaseManager: what is registered there is any type here.
class KIN_EXPORT Manager {
 public:
  Manager() : Manager(ManagerOptions{}) {}
  explicit Manager(ManagerOptions options)
      : engine_(std::make_unique<detail::ManagerEngine>(
            detail::ManagerSettings{.name = std::move(options.name),
                                    .initializer = std::move(options.initializer),
                                    .outside = listening(std::move(options)),
                                    .connection = {}})) {}

  /// The manager of another program, which was made with an address.
  ///
  /// Everything is used as if it were this program's own, by all of its processes, with the calls that both
  /// have exposed; see kin/expose.hpp. A relay of its own carries them; shutdown() ends that, and nothing at
  /// the other side but what was held there.
  /// Throws: what a Client throws.
  [[nodiscard]] static Manager connect(const std::string& address,
                                       const ClientOptions& options = {}) {
    return Manager(std::make_unique<detail::ManagerEngine>(
        detail::ManagerSettings{.name = {},
                                .initializer = {},
                                .outside = {},
                                .connection = detail::connect_to_manager(address, options)}));
  }
  // A template, as g++ 12 would take {.authkey = …} for a string as well.
  template <std::convertible_to<std::string> Text>
  [[nodiscard]] static Manager connect(const std::string& address, Text&& authkey) {
    return connect(address, ClientOptions{.authkey = std::forward<Text>(authkey)});
  }
  /// Where other programs find it, with the port or the name that was chosen; empty if nowhere.
  [[nodiscard]] std::string address() const { return engine().address(); }

  /// Gives a value a name, by which all clients find it: a proxy, or anything else that travels. Instead of
  /// what had that name. Who connected can't.
  template <typename P>
  void publish(const std::string& name, const P& value) const {
    detail::require_sendable<P>();
    root().apply(detail::Publish<P>{}, name, value);
  }
  /// What was published by that name. Throws std::out_of_range for a name that nothing has,
  /// std::invalid_argument for a value of another type.
  template <typename P>
  [[nodiscard]] P find(const std::string& name) const {
    return root().apply(detail::Find<P>{}, name);
  }

  /// Makes a T of these arguments in the server.
  template <typename T, typename... Arguments>
  [[nodiscard]] Proxy<T> make(Arguments&&... arguments) const {
    return host<T>(std::forward<Arguments>(arguments)...);
  }

  /// Containers, filled with these elements: of a braced list, or of any range, which may be another of
  /// them.
  template <typename K, typename V>
  [[nodiscard]] managed::Dict<K, V> dict(const std::vector<std::pair<K, V>>& items = {}) const {
    return managed::Dict<K, V>(host<detail::OrderedDict<K, V>>(items));
  }
  template <typename K, typename V, detail::ElementsFor<std::vector<std::pair<K, V>>> R>
  [[nodiscard]] managed::Dict<K, V> dict(R&& items) const {
    return dict<K, V>(detail::collect<std::vector<std::pair<K, V>>>(items));
  }
  template <typename T>
  [[nodiscard]] managed::List<T> list(const std::vector<T>& items = {}) const {
    return managed::List<T>(root().apply(detail::MakeList<T>{}, items));
  }
  template <typename T, detail::ElementsFor<std::vector<T>> R>
  [[nodiscard]] managed::List<T> list(R&& items) const {
    return list<T>(detail::collect<std::vector<T>>(items));
  }
  template <typename T>
  [[nodiscard]] managed::Array<T> array(const std::vector<T>& items) const {
    return managed::Array<T>(root().apply(detail::MakeList<T>{}, items));
  }
  template <typename T, detail::ElementsFor<std::vector<T>> R>
  [[nodiscard]] managed::Array<T> array(R&& items) const {
    return array<T>(detail::collect<std::vector<T>>(items));
  }
  template <typename T>
  [[nodiscard]] managed::Set<T> set(const std::set<T>& values = {}) const {
    return managed::Set<T>(host<std::set<T>>(values));
  }
  template <typename T, detail::ElementsFor<std::set<T>> R>
  [[nodiscard]] managed::Set<T> set(R&& values) const {
    return set<T>(detail::collect<std::set<T>>(values));
  }
  template <typename T>
  [[nodiscard]] managed::Value<T> value(const T& value = T()) const {
    return managed::Value<T>(host<T>(value));
  }

  /// Values of differing types, by name.
  [[nodiscard]] managed::NameSpace name_space() const;

  /// Queues. 0: without a bound.
  template <typename T>
  [[nodiscard]] managed::Queue<T> queue(std::size_t max_size = 0) const {
    return managed::Queue<T>(host_queue<T, detail::QueueOrder::first_in>(max_size, false));
  }
  template <typename T>
  [[nodiscard]] managed::JoinableQueue<T> joinable_queue(std::size_t max_size = 0) const {
    return managed::JoinableQueue<T>(host_queue<T, detail::QueueOrder::first_in>(max_size, true));
  }
  template <typename T>
  [[nodiscard]] managed::LifoQueue<T> lifo_queue(std::size_t max_size = 0) const {
    return managed::LifoQueue<T>(host_queue<T, detail::QueueOrder::last_in>(max_size, false));
  }
  template <typename T>
  [[nodiscard]] managed::PriorityQueue<T> priority_queue(std::size_t max_size = 0) const {
    return managed::PriorityQueue<T>(host_queue<T, detail::QueueOrder::smallest>(max_size, false));
  }

  [[nodiscard]] managed::Lock lock() const;
  [[nodiscard]] managed::RLock rlock() const;
  [[nodiscard]] managed::Semaphore semaphore(int value = 1) const;
  [[nodiscard]] managed::BoundedSemaphore bounded_semaphore(int value = 1) const;
  [[nodiscard]] managed::Event event() const;
  [[nodiscard]] managed::Barrier barrier(int parties) const;
  [[nodiscard]] managed::Barrier barrier(const BarrierOptions& options, int parties) const;
  /// The last who comes calls action() in the server.
  template <typename Action>
    requires std::invocable<Action&>
  [[nodiscard]] managed::Barrier barrier(int parties, const Action& action) const {
    return barrier(BarrierOptions{}, parties, action);
  }
  template <typename Action>
    requires std::invocable<Action&>
  [[nodiscard]] managed::Barrier barrier(const BarrierOptions& options, int parties,
                                         const Action& action) const {
    using F = std::decay_t<const Action&>;
    return managed::Barrier(root().apply(detail::within<MakeBarrier, F>(action), parties), options);
  }
  /// Workers of the server's; as many as cpu_count() if not said otherwise. The initializer is called in each
  /// worker, before its first task.
  [[nodiscard]] managed::Pool pool(std::ptrdiff_t processes) const;
  [[nodiscard]] managed::Pool pool(const managed::PoolOptions& options = {}) const;
  template <typename Initializer>
    requires std::invocable<Initializer&>
  [[nodiscard]] managed::Pool pool(const managed::PoolOptions& options,
                                   const Initializer& initializer) const {
    using F = std::decay_t<const Initializer&>;
    return managed::Pool(
        root().apply(detail::within<detail::MakePoolWith, F>(initializer), options));
  }

  /// With a lock of its own, which is recursive.
  [[nodiscard]] managed::Condition condition() const;
  [[nodiscard]] managed::Condition condition(const managed::Lock& lock) const;

  /// Ends the server, within about a second whatever it does, and the sessions of other programs, within one
  /// more: what was answered still arrives there. Again: nothing. The maker's.
  void shutdown() { engine().shutdown(); }

  [[nodiscard]] ManagerStatistics statistics() const;
  /// The server.
  [[nodiscard]] ProcessHandle process() const { return engine().server(); }

 private:
  struct MakeBarrier {
    template <typename F>
    Proxy<detail::BarrierStore> operator()(F& action, detail::HostRoot& root, int parties) const {
      auto object = std::make_unique<detail::HostedOf<detail::BarrierStore>>(
          parties, detail::BarrierStore::Action(action));
      return Proxy<detail::BarrierStore>(
          root.host(std::move(object), typeid(detail::BarrierStore)));
    }
  };
  explicit Manager(std::unique_ptr<detail::ManagerEngine> engine) : engine_(std::move(engine)) {}
  static std::optional<ListenerOptions> listening(ManagerOptions options) {
    if (options.address.empty()) {
      if (options.authkey.empty()) return std::nullopt;
      throw std::invalid_argument("kin: a manager with an authkey has to have an address, too");
    }
    return ListenerOptions{.address = std::move(options.address),
                           .authkey = std::move(options.authkey),
                           .max_message = options.max_message};
  }
  template <typename T, typename... Arguments>
  [[nodiscard]] Proxy<T> host(Arguments&&... arguments) const {
    static_assert(std::is_constructible_v<T, detail::ArgumentOf<Arguments>&&...>,
                  "kin: a T can't be made of these arguments: the server gets values of its own, "
                  "text as std::string");
    return root().apply(detail::MakeHosted<T>{}, std::forward<Arguments>(arguments)...);
  }
  template <typename T, detail::QueueOrder order>
  [[nodiscard]] Proxy<detail::QueueStore<T, order>> host_queue(std::size_t max_size,
                                                               bool joinable) const {
    return host<detail::QueueStore<T, order>>(max_size, joinable);
  }
  [[nodiscard]] detail::ManagerEngine& engine() const {
    if (!engine_) throw std::logic_error("kin: used after it was moved from");
    return *engine_;
  }
  // Explicit, so no braces do. NOLINTNEXTLINE(modernize-return-braced-init-list)
  [[nodiscard]] detail::Root root() const { return detail::Root(engine().root()); }

  std::unique_ptr<detail::ManagerEngine> engine_;
};

}  // namespace kin
