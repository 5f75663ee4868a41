// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/hosted.hpp>
#include <kin/error.hpp>
#include <kin/proxy.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace kin::detail {

/// In which order a queue gives what was put.
enum class QueueOrder : std::uint8_t { first_in, last_in, smallest };

/// The pid of a process by its stamp, 0 if nobody knows any more.
[[nodiscard]] KIN_EXPORT pid_t pid_of_client(std::uint64_t process) noexcept;
/// For JoinableQueues: what join() throws.
[[noreturn]] KIN_EXPORT void complain_lost_items(const std::vector<pid_t>& dead, std::size_t items);

/// What a queue is in the server.
template <typename T, QueueOrder order>
class QueueStore {
 public:
  QueueStore(std::size_t max_size, bool joinable) : max_size_(max_size), joinable_(joinable) {}

  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] bool full() const noexcept { return max_size_ != 0 && size() >= max_size_; }
  void shut_down() noexcept { is_shut_down_ = true; }

  bool put(T& item) {
    if (is_shut_down_) throw QueueShutDown("the queue was shut down");
    if (full()) return false;
    insert(std::move(item));
    if (joinable_) ++unfinished_;
    return true;
  }
  std::optional<T> get(std::uint64_t process) {
    if (items_.empty()) {
      if (is_shut_down_) throw QueueShutDown("the queue is empty and was shut down");
      return std::nullopt;
    }
    if (joinable_) ++open_[process];
    return take();
  }
  /// The process did not live to have it.
  void take_back(std::uint64_t process, T item) {
    if (joinable_) close_one(process);
    if constexpr (order == QueueOrder::first_in) {
      items_.push_front(std::move(item));
    } else {
      insert(std::move(item));
    }
  }

  void task_done(std::uint64_t process) {
    if (!joinable_) throw std::logic_error("kin: task_done() is for joinable queues");
    if (open_.empty()) {
      throw std::logic_error("kin: task_done() was called more often than there were items");
    }
    close_one(open_.contains(process) ? process : open_.begin()->first);
    --unfinished_;
  }
  [[nodiscard]] bool join() {
    if (unfinished_ != 0) return false;
    if (lost_ != 0) {
      const std::size_t lost = std::exchange(lost_, 0);
      complain_lost_items(std::exchange(dead_, {}), lost);
    }
    return true;
  }
  /// What a dead process had taken, and not done, nobody will do.
  void bury(DeadClient dead) {
    const auto found = open_.find(dead.process);
    if (found == open_.end()) return;
    dead_.push_back(pid_of_client(dead.process));
    unfinished_ -= found->second;
    lost_ += found->second;
    open_.erase(found);
  }

 private:
  using Items = std::conditional_t<order == QueueOrder::smallest, std::multiset<T>, std::deque<T>>;

  void insert(T&& item) {
    if constexpr (order == QueueOrder::smallest) {
      items_.insert(std::move(item));
    } else {
      items_.push_back(std::move(item));
    }
  }
  T take() {
    if constexpr (order == QueueOrder::smallest) {
      return std::move(items_.extract(items_.begin()).value());
    } else if constexpr (order == QueueOrder::last_in) {
      T item = std::move(items_.back());
      items_.pop_back();
      return item;
    } else {
      T item = std::move(items_.front());
      items_.pop_front();
      return item;
    }
  }
  void close_one(std::uint64_t process) {
    const auto found = open_.find(process);
    if (found != open_.end() && --found->second == 0) open_.erase(found);
  }

  Items items_;
  std::size_t max_size_;
  bool joinable_;
  bool is_shut_down_ = false;
  std::size_t unfinished_ = 0;
  std::map<std::uint64_t, std::size_t> open_;  // taken by living processes, and not done
  std::size_t lost_ = 0;
  std::vector<pid_t> dead_;
};

}  // namespace kin::detail

namespace kin::managed {

/// A queue in a manager's server; as kin::Queue, but it can be taken from in another order.
///
///     auto queue = manager.queue<std::string>();
///     kin::Process child([queue] { queue.put("hello"); });
///     child.start();
///     std::string word = queue.get();  // "hello"
///
/// Who waits is kept by the server, and holds nobody up; of several the first gets the next item.
/// If a process dies: what it had put stays; what was handed to it and what it did not come to read is put
/// back.
/// Throws: as Proxy; QueueShutDown.
/// Python: manager.Queue(), LifoQueue, PriorityQueue.
template <typename T, detail::QueueOrder order = detail::QueueOrder::first_in>
class Queue : public Proxy<detail::QueueStore<T, order>> {
 protected:
  using Store = detail::QueueStore<T, order>;
  using Base = Proxy<Store>;

 public:
  using value_type = T;
  using Base::apply;

  Queue() noexcept = default;
  explicit Queue(Base proxy) : Base(std::move(proxy)) {}

  void put(const T& item) const { static_cast<void>(put_until(item, detail::Deadline::never())); }
  /// False while the queue is full.
  [[nodiscard]] bool try_put(const T& item) const {
    return put_until(item, detail::Deadline::passed());
  }
  template <typename Rep, typename Period>
  [[nodiscard]] bool put_for(const T& item, std::chrono::duration<Rep, Period> limit) const {
    return put_until(item, detail::Deadline::after(limit));
  }
  T get() const { return *get_until(detail::Deadline::never()); }
  [[nodiscard]] std::optional<T> try_get() const { return get_until(detail::Deadline::passed()); }
  template <typename Rep, typename Period>
  [[nodiscard]] std::optional<T> get_for(std::chrono::duration<Rep, Period> limit) const {
    return get_until(detail::Deadline::after(limit));
  }

  [[nodiscard]] std::size_t size() const { return this->own(detail::method<&Store::size>); }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] bool full() const { return this->own(detail::method<&Store::full>); }
  /// No more can be put; get() throws QueueShutDown when the queue is empty.
  void shutdown() const { this->own(detail::method<&Store::shut_down>); }

 private:
  struct Put {
    bool operator()(Store& queue, std::uint64_t /*process*/, T& item) const {
      return queue.put(item);
    }
  };
  struct Get {
    std::optional<T> operator()(Store& queue, std::uint64_t process) const {
      return queue.get(process);
    }
    static void take_back(Store& queue, std::uint64_t process, T item) {
      queue.take_back(process, std::move(item));
    }
  };
  bool put_until(const T& item, detail::Deadline deadline) const {
    return this->template wait<Put>(deadline, item);
  }
  std::optional<T> get_until(detail::Deadline deadline) const {
    return this->template wait<Get>(deadline);
  }
};

/// One that knows how many of its items are done.
///
/// If a process dies: what it had taken, and not done, counts as done; join() throws OwnerDied then.
/// Python: manager.JoinableQueue().
template <typename T>
class JoinableQueue : public Queue<T> {
  using Store = typename Queue<T>::Store;

 public:
  JoinableQueue() noexcept = default;
  explicit JoinableQueue(Proxy<Store> proxy) : Queue<T>(std::move(proxy)) {}

  /// Of an item that was taken: it is done.
  void task_done() const {
    static_cast<void>(this->template wait<Done>(detail::Deadline::never()));
  }
  /// Waits until all that was ever put is done.
  void join() const { static_cast<void>(this->template wait<Join>(detail::Deadline::never())); }
  /// False when the time is up.
  template <typename Rep, typename Period>
  [[nodiscard]] bool join_for(std::chrono::duration<Rep, Period> limit) const {
    return this->template wait<Join>(detail::Deadline::after(limit));
  }

 private:
  struct Done {
    bool operator()(Store& queue, std::uint64_t process) const {
      queue.task_done(process);
      return true;
    }
  };
  struct Join {
    bool operator()(Store& queue, std::uint64_t /*process*/) const { return queue.join(); }
  };
};

template <typename T>
using LifoQueue = Queue<T, detail::QueueOrder::last_in>;
/// Gives the smallest first.
template <typename T>
using PriorityQueue = Queue<T, detail::QueueOrder::smallest>;

}  // namespace kin::managed
