// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/thread_id.hpp"

#include <atomic>
#include <cstddef>

#include <linux/futex.h>
#include <pthread.h>

namespace kin::detail {

/// The kernel's list of the robust mutexes that this thread holds, which it walks when the thread ends
/// (Documentation/locking/robust-futex-ABI.rst). glibc keeps it; it has one list a thread, so whoever
/// takes a robust mutex past glibc has to keep the same list in the same way, links to the
/// predecessor included (nptl/pthreadP.h, ENQUEUE_MUTEX and DEQUEUE_MUTEX; unchanged since 2005).
///
/// Why past glibc: much of a put and a get went to its checks for kinds of mutex that kin's locks are not.
/// `./tests/run bench` shows a lock beside glibc's.
///
/// take() and release() do what pthread_mutex_trylock() and _unlock() do where nobody waits and
/// nobody died; they fail on anything else, which is glibc's to handle. The two mix freely.
/// If killed at any instruction: `list_op_pending` names the mutex from before its word changes until
/// after it is in the list, or out of it; the kernel looks at the word and marks what is this thread's.
class RobustList {
 public:
  /// This thread's; null where it is not known yet, or is not as glibc 2 of a 64-bit Linux keeps it.
  static RobustList* own() noexcept { return known_; }
  /// Asks the kernel for it, so that own() is it from then on, in this thread.
  static void learn() noexcept;

  /// False when it is not free, or its last holder died.
  bool take(pthread_mutex_t& mutex) noexcept {
    auto& data = mutex.__data;
    int unlocked = 0;
    const pid_t self = thread_id();
    head_.list_op_pending = entry_of(mutex);
    in_this_order();
    const bool taken = __atomic_compare_exchange_n(&data.__lock, &unlocked, self, false,
                                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    if (taken) {
      // A link is the address of a __next; the head's is head_.list.
      node_of(untagged(head_.list.next))->__prev = reinterpret_cast<Node*>(entry_of(mutex));
      data.__list.__next = reinterpret_cast<Node*>(head_.list.next);
      data.__list.__prev = reinterpret_cast<Node*>(&head_.list);
      in_this_order();
      head_.list.next = entry_of(mutex);
      data.__owner = self;
    }
    in_this_order();
    head_.list_op_pending = nullptr;
    return taken;
  }

  /// False when this thread does not hold it in a consistent state.
  bool release(pthread_mutex_t& mutex) noexcept {
    auto& data = mutex.__data;
    if (data.__owner != thread_id()) return false;
    head_.list_op_pending = entry_of(mutex);
    in_this_order();
    node_of(untagged(reinterpret_cast<Link*>(data.__list.__next)))->__prev = data.__list.__prev;
    node_of(untagged(reinterpret_cast<Link*>(data.__list.__prev)))->__next = data.__list.__next;
    in_this_order();
    data.__list.__prev = nullptr;
    data.__list.__next = nullptr;
    data.__owner = 0;
    const auto waiters = static_cast<int>(FUTEX_WAITERS);
    if ((__atomic_exchange_n(&data.__lock, 0, __ATOMIC_RELEASE) & waiters) != 0) wake(data.__lock);
    in_this_order();
    head_.list_op_pending = nullptr;
    return true;
  }

  RobustList() = delete;

 private:
  using Link = robust_list;
  using Node = __pthread_internal_list;

  static Link* entry_of(pthread_mutex_t& mutex) noexcept {
    return reinterpret_cast<Link*>(&mutex.__data.__list.__next);
  }
  // The lowest bit of a link tells of a mutex with priority inheritance.
  static Link* untagged(Link* link) noexcept {
    return reinterpret_cast<Link*>(reinterpret_cast<std::uintptr_t>(link) & ~std::uintptr_t{1});
  }
  static Node* node_of(Link* link) noexcept {
    return reinterpret_cast<Node*>(reinterpret_cast<std::byte*>(link) - offsetof(Node, __next));
  }
  // The reader is the kernel, on this thread's own stack of events: the compiler has to keep the order.
  static void in_this_order() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
  static void wake(int& word) noexcept;

  // A private member, which tidy takes for a variable. NOLINTNEXTLINE(readability-identifier-naming)
  [[gnu::tls_model("initial-exec")]] static inline thread_local RobustList* known_ = nullptr;

  robust_list_head head_;
};

}  // namespace kin::detail
