// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <chrono>
#include <cstdint>
#include <limits>

namespace kin::detail {

/// The moment at which a wait gives up: absolute, on the monotonic clock, one for a whole operation
/// however many waits it is made of.
class Deadline {
 public:
  /// Waits as long as it takes.
  [[nodiscard]] static constexpr Deadline never() noexcept { return Deadline(forever); }
  /// Has passed already: look, but do not wait.
  [[nodiscard]] static constexpr Deadline passed() noexcept { return Deadline(0); }
  /// A negative duration means zero, as in Python; one too long to count means never.
  template <typename Rep, typename Period>
  [[nodiscard]] static Deadline after(std::chrono::duration<Rep, Period> limit) noexcept {
    using Seconds = std::chrono::duration<long double>;
    const long double seconds = std::chrono::duration_cast<Seconds>(limit).count();
    if (!(seconds > 0)) return passed();
    if (seconds >= 1e9L) return never();
    return Deadline(now() + static_cast<std::int64_t>(seconds * 1e9L));
  }
  /// A moment that has passed means: look, but do not wait; one too far away to count means never.
  template <typename Clock, typename Duration>
  [[nodiscard]] static Deadline at(std::chrono::time_point<Clock, Duration> moment) {
    // Not in the durations' own units: a moment near the end of time would overflow.
    using Seconds = std::chrono::duration<long double>;
    return after(Seconds(moment.time_since_epoch()) - Seconds(Clock::now().time_since_epoch()));
  }
  /// `nanoseconds` on CLOCK_MONOTONIC.
  [[nodiscard]] static constexpr Deadline at(std::int64_t nanoseconds) noexcept {
    return Deadline(nanoseconds);
  }

  [[nodiscard]] constexpr bool is_never() const noexcept { return nanoseconds_ == forever; }
  [[nodiscard]] constexpr bool is_passed_from_start() const noexcept { return nanoseconds_ == 0; }
  [[nodiscard]] bool has_passed() const noexcept {
    return nanoseconds_ != forever && (nanoseconds_ == 0 || now() >= nanoseconds_);
  }
  [[nodiscard]] constexpr std::int64_t nanoseconds() const noexcept { return nanoseconds_; }

  /// Nanoseconds on CLOCK_MONOTONIC.
  [[nodiscard]] static std::int64_t now() noexcept {
    return std::chrono::steady_clock::now().time_since_epoch().count();
  }

 private:
  static constexpr std::int64_t forever = std::numeric_limits<std::int64_t>::max();
  constexpr explicit Deadline(std::int64_t nanoseconds) noexcept : nanoseconds_(nanoseconds) {}
  std::int64_t nanoseconds_;
};

}  // namespace kin::detail
