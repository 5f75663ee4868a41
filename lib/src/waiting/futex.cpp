// SPDX-License-Identifier: BSL-1.0
//
// The two system calls that all waiting ends in; see futex(2). Not the PRIVATE variants: the words
// are shared between processes.

#include "waiting/futex.hpp"

#include <algorithm>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {

bool futex_wait_slice(const FutexWord& word, std::uint32_t expected, Deadline deadline) noexcept {
  const std::int64_t until = std::min(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds);
  timespec absolute{};
  absolute.tv_sec = until / 1'000'000'000;
  absolute.tv_nsec = until % 1'000'000'000;
  return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, &absolute, nullptr,
                 FUTEX_BITSET_MATCH_ANY) == 0;
}

int futex_wake(FutexWord& word, int count) noexcept {
  const long woken = syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

}  // namespace kin::detail
