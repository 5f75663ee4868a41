// SPDX-License-Identifier: BSL-1.0

// To stop at a place costs as much as a single step, so the cheapest way to a kill point is over that of
// the places shortly before it where the fewest such stops are needed. Most code stands at most of its
// places once or twice.

#include "trail.hpp"

namespace crash {

void Trail::begin_at(std::uintptr_t place) {
  *this = Trail();
  step_to(place, true);
}

void Trail::step_to(std::uintptr_t place, bool is_kill_point) {
  if (is_kill_point) {
    points_.push_back(places_.size());
  }
  places_.push_back(place);
  visits_.push_back(++visits_of_[place]);
}

/// Not the first place: whether one stops where one stands is the processor's secret. Not the turns of a
/// `rep` instruction, which may be taken without a stop.
bool Trail::is_landmark(std::size_t step) const {
  const std::uintptr_t place = places_[step];
  return place != places_.front() && place != places_[step - 1] &&
         (step + 1 == places_.size() || place != places_[step + 1]);
}

Trail::Shortcut Trail::shortcut_to(std::size_t kill_point) const {
  const std::size_t goal = points_[kill_point];
  Shortcut best{.steps = goal};
  std::size_t cost = goal;
  for (std::size_t step = goal; step > 0 && goal - step < cost; --step) {
    if (is_landmark(step) && goal - step + visits_[step] < cost) {
      best = {.place = places_[step], .times = visits_[step], .steps = goal - step};
      cost = best.times + best.steps;
    }
  }
  return best;
}

}  // namespace crash
