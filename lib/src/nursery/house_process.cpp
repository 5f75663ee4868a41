// SPDX-License-Identifier: BSL-1.0

#include "nursery/house_process.hpp"

#include "base/log_text.hpp"
#include "base/own_thread.hpp"

#include <kin/detail/deadline.hpp>
#include <kin/log.hpp>

#include <chrono>
#include <csignal>

#include <sched.h>
#include <sys/stat.h>

namespace kin::detail {
namespace {

// This one, and the others of the application. Kin's own hold no lock over a fork that the child would miss.
int count_threads() {
  struct stat about {};
  if (::stat("/proc/self/task", &about) != 0) return 1;
  const int all = static_cast<int>(about.st_nlink) - 2;
  return all - OwnThread::living() + (OwnThread::is_here() ? 1 : 0);
}

}  // namespace

void warn_of_threads(const std::string& name, const std::string& what) {
  // Who has joined a thread may still see it in /proc for a moment.
  const Deadline enough = Deadline::after(std::chrono::milliseconds(10));
  int threads = count_threads();
  for (; threads > 1 && !enough.has_passed(); threads = count_threads()) ::sched_yield();
  if (threads <= 1) return;
  log_text(LogLevel::warning, [&] {
    return name + " is made while this process has " + std::to_string(threads) +
           " threads: " + what +
           ", in which locks that other threads hold stay locked; make it before threads";
  });
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
