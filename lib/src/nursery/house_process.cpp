// SPDX-License-Identifier: BSL-1.0

#include "nursery/house_process.hpp"

#include <kin/log.hpp>

#include <csignal>

#include <sys/stat.h>

namespace kin::detail {

void warn_of_threads(const std::string& name, const std::string& what) {
  struct stat about {};
  if (::stat("/proc/self/task", &about) != 0 || about.st_nlink <= 3) return;
  log(LogLevel::warning, name + " is made while this process has " +
                             std::to_string(about.st_nlink - 2) + " threads: " + what +
                             ", in which locks that other threads hold stay locked; make it before "
                             "threads");
}

namespace {

void set_signal(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

// A handler, not SIG_IGN: a program that a task starts does not inherit it.
void leave_interrupts_to_parent() {
  set_signal(SIGINT, [](int) {});
  set_signal(SIGTERM, SIG_DFL);
  set_signal(SIGCHLD, SIG_DFL);
}

}  // namespace kin::detail
