// SPDX-License-Identifier: BSL-1.0
//
// What the fast path of a robust lock seldom needs: finding the list, and waking.

#include "waiting/robust_list.hpp"

#include <gnu/libc-version.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {

void RobustList::learn() noexcept {
#if defined(__GLIBC__) && defined(__LP64__) && !defined(__SANITIZE_THREAD__)
  // (The thread sanitizer knows of mutexes what it sees of glibc's functions.)
  constexpr long expected_offset =
      static_cast<long>(offsetof(pthread_mutex_t, __data.__lock)) -
      static_cast<long>(offsetof(pthread_mutex_t, __data.__list.__next));
  robust_list_head* head = nullptr;
  std::size_t size = 0;
  if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 || head == nullptr) return;
  if (size != sizeof *head || head->futex_offset != expected_offset) return;
  known_ = reinterpret_cast<RobustList*>(head);
#endif
}

void RobustList::wake(int& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

}  // namespace kin::detail
