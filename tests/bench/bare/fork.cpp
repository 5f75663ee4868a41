// SPDX-License-Identifier: BSL-1.0

// The peer of bench/process: fork, _exit and waitpid in a program without kin, whose atfork handlers
// would otherwise run in these forks too. For each number N on stdin it does N of them and prints
// the nanoseconds of one.

#include <cstdio>
#include <cstdlib>

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main() {
  int count = 0;
  while (std::scanf("%d", &count) == 1) {
    timespec begin{};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < count; ++i) {
      const pid_t pid = fork();
      if (pid < 0) return EXIT_FAILURE;
      if (pid == 0) _exit(0);
      int status = 0;
      if (waitpid(pid, &status, 0) != pid) return EXIT_FAILURE;
    }
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double nanoseconds = static_cast<double>(end.tv_sec - begin.tv_sec) * 1e9 +
                               static_cast<double>(end.tv_nsec - begin.tv_nsec);
    std::printf("%.0f\n", nanoseconds / count);
    std::fflush(stdout);
  }
}
