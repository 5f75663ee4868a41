// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/sanitizer.hpp"

/// Allocations that fail where a case wants them to.
namespace unit {

/// In this thread the allocation after that many fails, by std::bad_alloc: that one, and none behind it.
///
///     for (int before = 0; ; ++before) {
///       const ScarceMemory scarce(before);
///       try { act(); } catch (const std::bad_alloc&) {}
///       if (!scarce.has_failed()) break;  // it needs no more than that
///     }
///
/// In force for a scope.
class ScarceMemory {
 public:
  explicit ScarceMemory(long before) noexcept { begin(before); }
  ~ScarceMemory() { end(); }
  ScarceMemory(const ScarceMemory&) = delete;
  ScarceMemory& operator=(const ScarceMemory&) = delete;

  /// The sanitizers have an operator new of their own.
  static constexpr bool is_possible = !support::is_sanitized;
  static constexpr const char* is_impossible =
      "skipped: a sanitizer's operator new can't be made to fail";

  /// Whether there was such an allocation.
  [[nodiscard]] static bool has_failed() noexcept;

  /// The same where there is no scope for it.
  static void begin(long before) noexcept;
  static void end() noexcept;
};

}  // namespace unit
