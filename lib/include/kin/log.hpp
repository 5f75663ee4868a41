// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <functional>
#include <string_view>

/// What kin has to say beside its results: where it goes and how much of it.
///
/// Warnings and errors go to stderr unless told otherwise, one line each, with the process's pid.
///
///     kin::set_log_level(kin::LogLevel::debug);
///     kin::set_log_sink([](kin::LogLevel, std::string_view line) { syslog(LOG_INFO, …); });
///
/// Sharing: thread-safe. After fork: a child starts with its parent's level and sink; later changes
/// concern only the process that makes them.
/// Python: multiprocessing.get_logger(), log_to_stderr().
namespace kin {

/// How urgent a line is; a level shows itself and all that is more urgent.
enum class LogLevel : unsigned char { debug, info, warning, error, off };

/// The least urgent level that is shown; `warning` at the start.
[[nodiscard]] KIN_EXPORT LogLevel log_level() noexcept;
KIN_EXPORT void set_log_level(LogLevel level) noexcept;

/// Receives a line, without a newline at its end. Called by whichever thread has something to say,
/// one at a time and with a lock held: it must not call log() or set_log_sink() itself, nor fork. What
/// it throws is dropped.
using LogSink = std::function<void(LogLevel level, std::string_view line)>;

/// Lines go to `sink` from now on; an empty one brings stderr back.
KIN_EXPORT void set_log_sink(LogSink sink);

/// Writes a line through the same sink, if `level` is shown.
KIN_EXPORT void log(LogLevel level, std::string_view text) noexcept;

}  // namespace kin
