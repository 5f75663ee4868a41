// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "deadlock/ring.hpp"

#include <kin/detail/deadline.hpp>

#include <cstdint>
#include <source_location>

namespace kin::detail {

/// A wait that is told to others when it lasts, and that gives up if it would never end.
///
///     Waiting waiting({.kind = WaitKind::message, .target = target_of(channel)}, deadline);
///     spot.wait(ready, deadline, [&] { waiting.look_around(); });
///
/// Until it has lasted for about a slice it costs nothing; so most waits never do.
/// In force for a scope, in one thread.
class Waiting {
 public:
  /// How long one waits before one looks for a ring; a fifth of it before one says that one waits. Another in
  /// tests only.
  static inline std::int64_t patience = 1'000'000'000;

  /// With `WaitFlags::for_ever` among the wait's flags it may be part of a ring, unless it ends at
  /// `deadline`, or at a soft limit.
  Waiting(const Wait& wait, Deadline deadline) noexcept : wait_(wait), deadline_(deadline) {}
  ~Waiting() {
    if (record_ != nullptr) end_wait(*record_);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  /// Call once a slice. Throws DeadlockError when this thread is the one of a ring that has to give up.
  void look_around();

 private:
  void begin() noexcept;
  void look_for_ring();

  Wait wait_;
  Deadline deadline_;
  WaitRecord* record_ = nullptr;
  Ring seen_ = {};
  bool has_warned_ = false;
};

}  // namespace kin::detail
