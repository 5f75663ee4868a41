// SPDX-License-Identifier: BSL-1.0
//
// The standard streams belong to the application, which may have closed them or connected them to
// something that is gone. Runs in any process and thread.

#include "base/stdio.hpp"

#include "base/syscall.hpp"

#include <csignal>
#include <ctime>

#include <fcntl.h>
#include <unistd.h>

namespace kin::detail {
namespace {

// Blocks SIGPIPE of this thread for the length of a scope, and takes away one that came in it.
class PipeSignalHeld {
 public:
  PipeSignalHeld() noexcept {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    came_before_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~PipeSignalHeld() {
    const timespec at_once{};
    if (!came_before_) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  PipeSignalHeld(const PipeSignalHeld&) = delete;
  PipeSignalHeld& operator=(const PipeSignalHeld&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool came_before_ = false;
};

}  // namespace

UniqueFd away_from_stdio(UniqueFd fd) {
  if (fd.get() > STDERR_FILENO) return fd;
  return UniqueFd(checked("fcntl", ::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1)));
}

void print_to_stderr(std::string_view line) noexcept {
  const PipeSignalHeld held;
  while (!line.empty()) {
    const auto written =
        retry_interrupted([&] { return ::write(STDERR_FILENO, line.data(), line.size()); });
    if (written <= 0) return;
    line.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace kin::detail
