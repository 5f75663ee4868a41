// SPDX-License-Identifier: BSL-1.0

// Between two changes of what others can see nothing differs for them, so to kill at each change
// loses nothing against killing at each instruction. A change is found by comparing: the test
// process has the same shared memory mapped, and the kernel lends it a look at the robust list,
// which stands in the private memory of the child.

#include "kill_points.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace crash {

KillPoints::KillPoints(const Scenario& scenario, At at, const Stepper& victim)
    : at_(at), bulk_(scenario.bulk) {
  if (at_ == At::every_instruction) {
    return;
  }
  if (scenario.watch) {
    for (const auto& range : scenario.watch()) {
      watched_.push_back({range, {range.begin(), range.end()}});
    }
  }
  glance_ = victim.glance();
}

bool KillPoints::is_interesting(const Stepper& victim) {
  if (at_ == At::every_instruction) {
    return true;
  }
  const Stepper::Glance before = std::exchange(glance_, victim.glance());
  bool changed = before.before_system_call || glance_.before_system_call ||
                 before.robust_list != glance_.robust_list;
  for (Watched& watched : watched_) {
    if (std::memcmp(watched.range.data(), watched.copy.data(), watched.copy.size()) != 0) {
      std::copy(watched.range.begin(), watched.range.end(), watched.copy.begin());
      changed = true;
    }
  }
  return changed;
}

/// A `rep` instruction traps once a turn, always at the same address.
bool KillPoints::is_inside_bulk(const Stepper& victim) {
  if (bulk_ <= 1) {
    return false;
  }
  const std::uintptr_t place = victim.program_counter();
  repeated_ = place == std::exchange(place_, place) ? repeated_ + 1 : 0;
  return repeated_ % bulk_ != 0;
}

}  // namespace crash
