// SPDX-License-Identifier: BSL-1.0
//
// The log. Level and sink are private to each process; the mutex is taken in the fork handlers
// (see os/fork.cpp), so that no child inherits it locked by a thread that it does not have.

#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/stdio.hpp"

#include <kin/log.hpp>

#include <atomic>
#include <cstdio>
#include <string>
#include <utility>

#include <unistd.h>

namespace kin {
namespace {

std::atomic<LogLevel> shown_level{LogLevel::warning};

detail::Guarded<LogSink>& current_sink() {
  static detail::Immortal<detail::Guarded<LogSink>> sink;
  return *sink;
}

[[maybe_unused]] const bool sink_is_made = detail::made_at_load(current_sink);

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
    case LogLevel::off: break;
  }
  return "off";
}

}  // namespace

LogLevel log_level() noexcept { return shown_level.load(std::memory_order_relaxed); }

void set_log_level(LogLevel level) noexcept { shown_level.store(level, std::memory_order_relaxed); }

void set_log_sink(LogSink sink) {
  current_sink().with([&](LogSink& current) { current = std::move(sink); });
}

void log(LogLevel level, std::string_view text) noexcept {
  if (level == LogLevel::off || level < log_level()) return;
  try {
    const std::string line =
        "kin[" + std::to_string(::getpid()) + "] " + name_of(level) + ": " + std::string(text);
    current_sink().with([&](const LogSink& sink) {
      if (sink) {
        sink(level, line);
      } else {
        detail::print_to_stderr(line + '\n');
      }
    });
  } catch (...) {  // NOLINT(bugprone-empty-catch): a log that can't be written must harm nobody
  }
}

}  // namespace kin
