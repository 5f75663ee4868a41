// SPDX-License-Identifier: BSL-1.0
//
// Shared objects without their type: the lock, the mark that somebody was killed while he changed it, and
// two regions of memory, of which one counts.
//
// What is in the object is changed in place, by code of the user's. A death in it can't be repaired by us:
// so it is noted, before the lock is made consistent, and everybody is told until somebody has repaired or
// replaced it. To replace it is to make another in the other region, and then to let that one count by one
// store.

#include <kin/detail/shared_hold.hpp>

#include "memory/object.hpp"
#include "os/fork.hpp"
#include "shared/region.hpp"

#include <kin/error.hpp>
#include <kin/shared_allocator.hpp>

#include <array>
#include <atomic>
#include <cassert>
#include <stdexcept>
#include <string>
#include <utility>

namespace kin::detail {

/// Writers: the holder of the lock.
struct SharedState : Object {
  RobustLock lock;
  // {pid of who was killed in it, or 0 : 32, which region counts : 32}
  std::atomic<std::uint64_t> word;
  std::atomic<std::uint32_t> busy;  // pid of who changes it; 0: nobody
  std::array<Region, 2> regions;

  [[nodiscard]] std::size_t index() const noexcept { return word.load() & 1; }
  [[nodiscard]] pid_t killed() const noexcept { return static_cast<pid_t>(word.load() >> 32); }
  [[nodiscard]] Region& region() noexcept { return regions[index()]; }
  [[nodiscard]] Region& spare() noexcept { return regions[1 - index()]; }
};
static_assert(sizeof(SharedState) <= Heap::lock_size);

namespace {

// The holds of this thread, each knows the one around it.
[[gnu::tls_model("initial-exec")]] thread_local const SharedHold* innermost = nullptr;

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

SharedState& state_of(Object& object) { return static_cast<SharedState&>(object); }

// With the lock taken over from the dead; again, from wherever it was killed.
void recover(SharedState& state) {
  // A dead holder may have been in the heap with one of our places.
  Heap::recover();
  for (Region& region : state.regions) region.settle();
  if (const std::uint64_t pid = state.busy.load(); pid != 0) {
    state.word.store(pid << 32 | state.index());
    // If killed here: it is noted, and is noted again.
    state.busy.store(0);
  }
  // Either what should have replaced the other, or what was replaced.
  state.spare().clear();
}

void take_over(SharedState& state, RobustLock::Found found) {
  if (found == RobustLock::Found::clean) return;
  recover(state);
  // If killed before this: the next holder recovers again.
  state.lock.make_consistent();
}

// Under the sweep lock; again, if it was killed. The lock is left alone if a living thread holds it.
bool end_shared_object(Object& object) {
  SharedState& state = state_of(object);
  if (state.lock.is_held()) return false;
  for (Region& region : state.regions) {
    region.settle();
    region.clear();
  }
  return true;
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::shared_object, end_shared_object);
  return true;
}();

}  // namespace

Handle new_shared_object() {
  return Handle(make_object(ObjectKind::shared_object, sizeof(SharedState),
                            [](Object& object) { state_of(object).lock.initialize(); }));
}

bool is_poisoned(Object& object) {
  SharedState& state = state_of(object);
  // A death that nobody has met yet is met here.
  if (const auto found = state.lock.try_lock()) {
    take_over(state, *found);
    state.lock.unlock();
  }
  return state.killed() != 0;
}

SharedHold::SharedHold(Object& object, For purpose, Deadline deadline)
    : state_(&state_of(object)), purpose_(purpose), process_(this_process()) {
  const auto found = state_->lock.lock_until(deadline);
  if (!found) return;
  take_over(*state_, *found);
  if (const pid_t killed = state_->killed();
      killed != 0 && (purpose == For::looking || purpose == For::changing)) {
    state_->lock.unlock();
    throw OwnerDied("process " + std::to_string(killed) +
                        " was killed while it changed a shared object: repair() or replace() it",
                    {killed}, 1);
  }
  is_held_ = true;
  region_ = purpose == For::replacing ? &state_->spare() : &state_->region();
  outer_ = std::exchange(innermost, this);
  // If killed from here on, but for looking and replacing: the next holder is told, and all after him.
  if (purpose == For::changing || purpose == For::repairing) {
    state_->busy.store(static_cast<std::uint32_t>(pid_of(process_)));
  }
}

SharedHold::~SharedHold() {
  if (!is_held_) return;
  innermost = outer_;
  if (!is_of_this_process()) return;
  if (purpose_ == For::replacing) state_->spare().clear();
  state_->busy.store(0);
  // If killed here: the next holder finds it as it is.
  state_->lock.unlock();
}

bool SharedHold::is_of_this_process() const noexcept { return process_ == this_process_or_none(); }

bool SharedHold::is_poisoned() const noexcept { return state_->killed() != 0; }

void* SharedHold::root() const noexcept { return state_->region().root.load(); }

void SharedHold::heal() noexcept {
  if (is_of_this_process()) state_->word.store(state_->index());
}

void* SharedHold::make_room(std::size_t size) {
  assert(purpose_ == For::replacing);
  Region& spare = state_->spare();
  std::byte* room = spare.allocate(size);
  spare.root.store(room);
  return room;
}

void SharedHold::commit() noexcept {
  if (!is_of_this_process()) return;
  // If killed before this: what was in it is in it. Behind it: the new one is, and the next holder frees
  // what was.
  state_->word.store(1 - state_->index());
}

// ---- the allocator's side

Region* current_region() noexcept {
  if (innermost == nullptr || !innermost->is_of_this_process()) return nullptr;
  return innermost->region_;
}

bool is_held_here(const Region* region) noexcept {
  for (const SharedHold* hold = innermost; hold != nullptr; hold = hold->outer_) {
    if (hold->region_ == region) return hold->is_of_this_process();
  }
  return false;
}

void* allocate_shared(Region* region, std::size_t size) {
  if (region == nullptr || !is_held_here(region)) {
    throw std::logic_error("kin: shared memory is allocated inside of SharedObject::with() only");
  }
  return region->allocate(size);
}

void free_shared(Region* region, void* memory) noexcept {
  // What was carried out of its object can't be freed without that one's lock: it goes with the object.
  if (is_held_here(region)) region->free(RegionBlock::of(memory));
}

}  // namespace kin::detail
