// SPDX-License-Identifier: BSL-1.0
//
// Notices of tasks that are over. Workers and the nursery post them, the parent's own thread takes them: see
// pool/notices.cpp.

#include "nursery/notice_board.hpp"

#include <utility>

namespace kin::detail {

void NoticeBoard::post(TaskSlot& slot) noexcept {
  const std::uint32_t place = TaskHint::place_of(slot);
  std::uint32_t top = top_.load(std::memory_order_relaxed);
  do {
    slot.next_over.store(top, std::memory_order_relaxed);
    // If killed here: it is not on the list, and what it names is not looked at.
    // SYNC board: publishes the slot and its link; pairs with the exchange in take_all().
  } while (!top_.compare_exchange_weak(top, place));
  // If killed here: the reader looks again at the end of its slice.
  reader_.notify();
}

void NoticeBoard::post_for_dead(TaskSlot& slot, std::uint32_t generation) noexcept {
  slot.untold.store(generation);
  // If killed here: the parent looks at all tasks, as its nursery is dead.
  ask_to_look();
}

void NoticeBoard::ask_to_look() noexcept {
  is_asked_.store(1);
  reader_.notify();
}

void NoticeBoard::shut() noexcept {
  is_shut_.store(1);
  reader_.notify_all();
}

bool NoticeBoard::take_all(FunctionRef<bool(TaskSlot&)> use) {
  // Nobody but the reader makes it empty.
  if (top_.load(std::memory_order_relaxed) == 0) return false;
  // If killed from here on: nobody is left who would want to know.
  std::uint32_t next = top_.exchange(0);
  std::uint32_t first = 0;
  while (next != 0) {
    TaskSlot& slot = TaskHint::slot_at(next);
    const std::uint32_t before = slot.next_over.load(std::memory_order_relaxed);
    slot.next_over.store(first, std::memory_order_relaxed);
    first = std::exchange(next, before);
  }
  while (first != 0) {
    TaskSlot& slot = TaskHint::slot_at(first);
    first = slot.next_over.load(std::memory_order_relaxed);  // now: its life may end
    if (!use(slot)) break;
  }
  return true;
}

bool NoticeBoard::wait(Deadline deadline) {
  const auto ready = [this] { return top_.load() != 0 || is_asked_.load() != 0 || is_shut(); };
  return reader_.wait(ready, deadline);
}

}  // namespace kin::detail
