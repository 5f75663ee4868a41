// SPDX-License-Identifier: BSL-1.0

// Lock and unlock of kin's locks where nobody else wants them. A program of its own, that is linked once
// with a kin that looks for deadlocks and once with one that does not, so that all else is the same. For
// each number N on stdin, N times, and prints the nanoseconds of one; where N is negative, of an RLock.

#include <kin/lock.hpp>

#include <cstdio>
#include <mutex>

#include <time.h>

namespace {

double now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

template <typename L>
double round_of(const L& lock, int count) {
  const double begin = now();
  for (int i = 0; i < count; ++i) {
    const std::scoped_lock guard(lock);
  }
  return (now() - begin) / count;
}

}  // namespace

int main() {
  const kin::Lock lock;
  const kin::RLock recursive_lock;
  int count = 0;
  while (std::scanf("%d", &count) == 1) {
    std::printf("%.3f\n", count < 0 ? round_of(recursive_lock, -count) : round_of(lock, count));
    std::fflush(stdout);
  }
}
