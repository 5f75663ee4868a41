// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/error.hpp>
#include <kin/serialize.hpp>

#include <boost/serialization/access.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace kin {

/// A first-in first-out queue between processes.
///
///     kin::Queue<int> queue;
///     kin::Process child([queue] { queue.put(42); });
///     child.start();
///     int answer = queue.get();  // 42
///
/// What put() returned from is in the queue: no thread feeds it in the background, size() is exact,
/// and a process may end right after a put. Items travel as docs/queue.md says: plain values by
/// memcpy, all else through Boost.Serialization; they are written and read outside the queue's locks.
///
/// Each way to wait comes three times: get() waits as long as it takes, try_get() not at all,
/// get_for() up to a limit; a negative duration means zero.
///
/// Lifetime: lives as long as any process holds a handle. Copies of a handle name the same queue.
/// Sharing: process-safe and thread-safe; every operation is const; may itself be sent in a message.
/// After fork: the child's copy names the same queue.
/// If a process dies: items it had put stay; the item it was putting was never put; an item whose
/// get() it was in stays, or went with it. Whoever waited goes on.
/// Throws: QueueShutDown from put() after shutdown(), and from get() when what had been put is taken;
/// SerializationError for an item that can't be written (nothing is put then), or read (it is gone);
/// std::bad_alloc from put() when the arena or the machine has no memory, or for an item of more than
/// 4 GiB; std::logic_error after close(), and on a moved-from handle; std::invalid_argument for a
/// negative max_size.
/// Python: multiprocessing.Queue and SimpleQueue, with shutdown() of queue.Queue.
template <typename T>
class Queue {
 public:
  using value_type = T;
  class Iterator;

  /// Without a bound: a put never waits. (But for descriptors: about 500 messages that carry some can be
  /// on their way in a family of processes; a put of one more waits until another is received.)
  Queue() : Queue(0) {}
  /// Holds `max_size` items at most; 0 means any number.
  explicit Queue(std::ptrdiff_t max_size) : Queue(max_size, detail::Channel::Kind::plain) {}

  /// Waits while the queue is full.
  void put(const T& item) const { put_until(item, detail::Deadline::never()); }
  /// False when the queue is full.
  [[nodiscard]] bool try_put(const T& item) const {
    return put_until(item, detail::Deadline::passed());
  }
  /// False when the queue stayed full for that long.
  template <typename Rep, typename Period>
  [[nodiscard]] bool put_for(const T& item, std::chrono::duration<Rep, Period> limit) const {
    return put_until(item, detail::Deadline::after(limit));
  }

  /// Waits for an item.
  [[nodiscard]] T get() const {
    if constexpr (Plain<T>) {
      T item;
      channel_.get_plain(std::addressof(item), sizeof(T), detail::Deadline::never());
      return item;
    } else {
      return *get_until(detail::Deadline::never());  // NOLINT: without an end it is never empty
    }
  }
  /// None when the queue is empty.
  [[nodiscard]] std::optional<T> try_get() const { return get_until(detail::Deadline::passed()); }
  /// None when the queue stayed empty for that long.
  template <typename Rep, typename Period>
  [[nodiscard]] std::optional<T> get_for(std::chrono::duration<Rep, Period> limit) const {
    return get_until(detail::Deadline::after(limit));
  }

  /// How many items are in the queue: exact, at a moment during the call.
  [[nodiscard]] std::size_t size() const { return channel_.size(); }
  [[nodiscard]] bool empty() const { return channel_.size() == 0; }
  /// Whether a put would wait; never without a bound.
  [[nodiscard]] bool full() const { return channel_.full(); }

  /// A descriptor for select, poll and epoll, edge-triggered too: readable while there is an item, and
  /// after shutdown(). Only a hint, as another may be quicker: use try_get(). It belongs to this handle;
  /// don't read from it, and don't close it. From the first call on a put costs a system call where it
  /// finds the queue empty, and the first such put of a process takes a descriptor: where there is none,
  /// it throws SystemError, and nothing was put; so does shutdown(). Throws SystemError when the kernel
  /// gives no descriptor, or has no room to keep it for the others: see Queue().
  [[nodiscard]] int fileno() const { return channel_.fileno(); }

  /// Nothing can be put any more, by anyone; what is in the queue can be taken. Again: nothing.
  void shutdown() const { channel_.shutdown(); }
  /// This process stops using the queue, through any copy of this handle: further calls throw
  /// std::logic_error. Other processes go on. Again: nothing.
  void close() const { channel_.close(); }

  /// `for (auto& item : queue)` takes items until the queue is shut down and empty.
  [[nodiscard]] Iterator begin() const { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

  /// Whether both name the same queue.
  friend bool operator==(const Queue& left, const Queue& right) {
    return left.channel_ == right.channel_;
  }

 protected:
  Queue(std::ptrdiff_t max_size, detail::Channel::Kind kind) : channel_(max_size, kind) {
    detail::require_sendable<T>();
  }
  [[nodiscard]] const detail::Channel& channel() const { return channel_; }

 private:
  friend class boost::serialization::access;
  friend class Waitable;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    channel_.travel(archive);
  }

  // A T that can't travel is told of once, and nothing else is.
  bool put_until(const T& item, detail::Deadline deadline) const {
    if constexpr (!Sendable<T>) {
      detail::require_sendable<T>();
      return false;
    } else if constexpr (Plain<T>) {
      return channel_.put(std::as_bytes(std::span(std::addressof(item), 1)), {}, deadline);
    } else {
      const detail::BorrowedBuffers buffers;
      detail::encode(buffers->out, item);
      return channel_.put(buffers->out.bytes(), buffers->out.cargo(), deadline);
    }
  }

  std::optional<T> get_until(detail::Deadline deadline) const {
    std::optional<T> item;
    if constexpr (!Sendable<T>) {
      detail::require_sendable<T>();
    } else if constexpr (Plain<T>) {
      item.emplace();
      if (!channel_.get_plain(std::addressof(*item), sizeof(T), deadline)) item.reset();
    } else {
      const detail::BorrowedBuffers buffers;
      if (channel_.get(buffers->bytes, buffers->cargo, deadline)) {
        detail::InArchive in(buffers->bytes, buffers->cargo);
        item.emplace(detail::decode<T>(in));
      }
    }
    return item;
  }

  detail::Channel channel_;
};

/// An input iterator over what is taken from a queue: each item goes to one reader only.
template <typename T>
class Queue<T>::Iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  explicit Iterator(const Queue& queue) : queue_(&queue) { ++*this; }

  [[nodiscard]] T& operator*() const { return *item_; }
  Iterator& operator++() {
    try {
      item_ = queue_->get_until(detail::Deadline::never());
    } catch (const QueueShutDown&) {
      item_.reset();
    }
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
    return !iterator.item_;
  }

 private:
  const Queue* queue_;
  mutable std::optional<T> item_;
};

/// Another name of Queue: kin has no need for a simpler one.
/// Python: multiprocessing.SimpleQueue.
template <typename T>
using SimpleQueue = Queue<T>;

/// A queue that knows what is unfinished: each item counts until a task_done() for it.
///
///     kin::JoinableQueue<Task> tasks;
///     …                                                     // in the workers:
///     for (Task& task : tasks) { work(task); tasks.task_done(); }
///     …                                                     // elsewhere:
///     tasks.join();  // all that was put is done
///
/// If a process dies, or just ends: what it had taken and not finished counts as done, so that join()
/// ends; join() throws OwnerDied then, with the pids and the number of items. task_done() is called by
/// the process that took the item.
/// Throws: std::logic_error from task_done() that was called more often than put().
/// Python: multiprocessing.JoinableQueue.
template <typename T>
class JoinableQueue : public Queue<T> {
 public:
  JoinableQueue() : JoinableQueue(0) {}
  explicit JoinableQueue(std::ptrdiff_t max_size)
      : Queue<T>(max_size, detail::Channel::Kind::joinable) {}

  /// One item that this process took is done.
  void task_done() const { this->channel().task_done(); }
  /// Waits until all that was put is done.
  void join() const { static_cast<void>(this->channel().join(detail::Deadline::never())); }
  /// False when something stayed unfinished for that long.
  template <typename Rep, typename Period>
  [[nodiscard]] bool join_for(std::chrono::duration<Rep, Period> limit) const {
    return this->channel().join(detail::Deadline::after(limit));
  }
};

}  // namespace kin
