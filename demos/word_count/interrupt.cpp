// SPDX-License-Identifier: BSL-1.0

#include "word_count/interrupt.hpp"

#include <csignal>
#include <initializer_list>

namespace word_count {
namespace {

volatile std::sig_atomic_t caught_signal = 0;

void note_signal(int signal) { caught_signal = signal; }

}  // namespace

void catch_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;  // nohup
    struct sigaction action {};
    action.sa_handler = note_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
}

void stop_if_interrupted() {
  if (caught_signal != 0) throw Interrupted{caught_signal};
}

}  // namespace word_count
