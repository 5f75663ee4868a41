// SPDX-License-Identifier: BSL-1.0
//
// Event: one word, {how often it was set : 31, set : 1}. Who waits goes on when it is set, or when it
// has been set since it came.

#include <kin/sync.hpp>

#include "deadlock/waiting.hpp"
#include "memory/object.hpp"
#include "os/fork.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"

#include <atomic>
#include <cstdint>

namespace kin {
namespace {

using namespace detail;

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

constexpr std::uint32_t is_set_bit = 1;
constexpr std::uint32_t one_time = 2;

/// Writers: who sets and who clears.
struct EventObject : Object {
  std::atomic<std::uint32_t> word;
  ParkingSpot changed;
};

EventObject& event_in(Object& object) { return static_cast<EventObject&>(object); }

}  // namespace

Event::Event()
    : HandleOf(Handle(make_object(ObjectKind::event, sizeof(EventObject), [](Object&) {}))) {}

bool Event::is_set() const { return (event_in(object()).word.load() & is_set_bit) != 0; }

void Event::set() const {
  EventObject& event = event_in(object());
  std::uint32_t word = event.word.load();
  while ((word & is_set_bit) == 0) {
    if (event.word.compare_exchange_weak(word, (word + one_time) | is_set_bit)) break;
  }
  // If killed here: who sleeps sees it at the end of a slice, or is woken by the next to set it.
  event.changed.notify_all();
}

void Event::clear() const { event_in(object()).word.fetch_and(~is_set_bit); }

bool Event::wait_until(Deadline deadline) const {
  EventObject& event = event_in(object());
  const std::uint32_t before = event.word.load();
  const auto was_set = [&] {
    const std::uint32_t now = event.word.load();
    return (now & is_set_bit) != 0 || (now ^ before) >= one_time;
  };
  if (was_set()) return true;
  SoftLimit::check(deadline);
  Waiting waiting({.kind = WaitKind::event, .target = target_of(event)}, deadline);
  return event.changed.wait(was_set, deadline, [&] {
    SoftLimit::check();
    waiting.look_around();
  });
}

}  // namespace kin
