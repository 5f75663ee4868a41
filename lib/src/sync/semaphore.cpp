// SPDX-License-Identifier: BSL-1.0
//
// Semaphore and BoundedSemaphore, of which there are two kinds inside.
//
// Where permits stay taken a semaphore is a number. Where they are given back when their holder ends,
// each permit is a word of its own, that is free or holds its holder's stamp. Either way an acquire or
// a release is one compare-and-swap: whoever is killed has done it or has not, and there is nothing to
// repair. Whether the holders of permits still live is asked by those who find none free.

#include <kin/sync.hpp>

#include "base/log_text.hpp"
#include "deadlock/report.hpp"
#include "deadlock/waiting.hpp"
#include "memory/object.hpp"
#include "os/fork.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <stdexcept>
#include <string>
#include <vector>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

constexpr int most_words = 1 << 20;

/// A permit: `absent`, `free`, or the stamp of the process that holds it.
using Permit = std::atomic<Stamp>;
constexpr Stamp absent = 0;
constexpr Stamp free = 2;  // stamps are odd

struct PermitBlock {
  Owned<PermitBlock> next;
  std::array<Permit, 31> permits;
};

/// Writers: who acquires and who releases.
struct SemaphoreObject : Object {
  bool is_bounded;
  bool gives_back;
  std::int32_t bound;
  ParkingSpot released;
  // Where permits stay taken: how many are free.
  std::atomic<std::int32_t> value;
  // Where they are given back: the words. Blocks are only ever added.
  Owned<PermitBlock> permits;
  std::atomic<Permit*> hint;            // the one that was last given back; maybe none
  std::atomic<std::int64_t> next_look;  // when somebody who does not wait asks after the dead again
};

SemaphoreObject& semaphore_in(Object& object) { return static_cast<SemaphoreObject&>(object); }

template <typename Visit>
bool any_permit(const SemaphoreObject& semaphore, Visit&& visit) {
  for (PermitBlock* block = semaphore.permits.get(); block != nullptr; block = block->next.get()) {
    // Visitors may write. NOLINTNEXTLINE(misc-const-correctness)
    for (Permit& permit : block->permits) {
      if (visit(permit)) return true;
    }
  }
  return false;
}

bool change(Permit& permit, Stamp from, Stamp to) {
  // Looks before it writes: a swap that fails takes the line from others, too.
  return permit.load(std::memory_order_relaxed) == from && permit.compare_exchange_strong(from, to);
}

bool take_word(SemaphoreObject& semaphore) {
  const Stamp own = this_process();
  // If killed behind the swap: it is this process's, and free again when somebody asks for it.
  Permit* const hint = semaphore.hint.load(std::memory_order_relaxed);
  if (hint != nullptr && change(*hint, free, own)) return true;
  return any_permit(semaphore, [&](Permit& permit) { return change(permit, free, own); });
}

bool take_from_number(SemaphoreObject& semaphore) {
  std::int32_t value = semaphore.value.load(std::memory_order_relaxed);
  while (value > 0) {
    if (semaphore.value.compare_exchange_weak(value, value - 1)) return true;
  }
  return false;
}

bool take(SemaphoreObject& semaphore) {
  return semaphore.gives_back ? take_word(semaphore) : take_from_number(semaphore);
}

int count_free(const SemaphoreObject& semaphore) {
  if (!semaphore.gives_back) return semaphore.value.load();
  int count = 0;
  any_permit(semaphore, [&](const Permit& permit) {
    count += permit.load() == free ? 1 : 0;
    return false;
  });
  return count;
}

// Makes one permit free that `is_one` says is taken. If killed behind the swap: it is free, and who
// sleeps sees it at the end of a slice.
template <typename IsOne>
bool free_word(SemaphoreObject& semaphore, IsOne&& is_one) {
  const auto try_to = [&](Permit& permit) {
    const Stamp holder = permit.load(std::memory_order_relaxed);
    if (!is_one(holder) || !change(permit, holder, free)) return false;
    semaphore.hint.store(&permit, std::memory_order_relaxed);
    return true;
  };
  Permit* const hint = semaphore.hint.load(std::memory_order_relaxed);
  return (hint != nullptr && try_to(*hint)) || any_permit(semaphore, try_to);
}

bool is_stamp(Stamp word) { return (word & 1) != 0; }

int count_taken(const SemaphoreObject& semaphore) {
  int count = 0;
  any_permit(semaphore, [&](const Permit& permit) {
    count += is_stamp(permit.load()) ? 1 : 0;
    return false;
  });
  return count;
}

// One permit more than there ever was.
void add_word(SemaphoreObject& semaphore) {
  const auto add = [&](Permit& permit) { return change(permit, absent, free); };
  while (!any_permit(semaphore, add)) {
    int words = 0;
    Owned<PermitBlock>* end = &semaphore.permits;
    for (; *end; end = &(*end)->next) words += static_cast<int>((*end)->permits.size());
    if (words >= most_words) {
      throw std::overflow_error("kin: a semaphore that gives back has at most 2^20 permits");
    }
    // Where two add a block at once, the second finds the place filled.
    Heap::allocate_into(*end, sizeof(PermitBlock));
  }
}

[[noreturn]] void complain_not_taken() {
  throw std::logic_error("kin: release() of more of a BoundedSemaphore than was taken");
}

void release_word(SemaphoreObject& semaphore) {
  const Stamp own = this_process();
  if (free_word(semaphore, [&](Stamp holder) { return holder == own; })) return;
  if (free_word(semaphore, is_stamp)) return;
  if (semaphore.is_bounded) complain_not_taken();
  add_word(semaphore);
}

void add_to_number(SemaphoreObject& semaphore, int permits) {
  std::int32_t value = semaphore.value.load(std::memory_order_relaxed);
  do {
    if (value > semaphore.bound - permits) {
      if (!semaphore.is_bounded) throw std::overflow_error("kin: too many permits in a semaphore");
      complain_not_taken();
    }
  } while (!semaphore.value.compare_exchange_weak(value, value + permits));
}

// Frees what processes held that are gone.
void take_from_the_dead(SemaphoreObject& semaphore) {
  Stamp seen = this_process();
  bool seen_is_gone = false;
  int count = 0;
  Stamp last = 0;
  any_permit(semaphore, [&](Permit& permit) {
    const Stamp holder = permit.load();
    if (!is_stamp(holder)) return false;
    if (holder != seen) {
      seen = holder;
      seen_is_gone = is_gone(holder);
    }
    if (!seen_is_gone) return false;
    // One of those who look at the same time is the one to count it.
    if (!change(permit, holder, free)) return false;
    ++count;
    last = holder;
    return false;
  });
  if (count == 0) return;
  // If killed here: who sleeps sees them at the end of a slice.
  for (int i = 0; i < count; ++i) semaphore.released.notify();
  log_text(LogLevel::warning, [&] {
    const pid_t pid = pid_of(last);
    const std::string who =
        pid == 0 ? "" : " of process " + name_of(last) + " (pid " + std::to_string(pid) + ")";
    return "a semaphore was given back " + std::to_string(count) + " permit(s)" + who +
           ", which ended without a release()";
  });
}

// For who does not wait, and may come again and again.
void take_from_the_dead_now_and_then(SemaphoreObject& semaphore) {
  const std::int64_t now = Deadline::now();
  std::int64_t due = semaphore.next_look.load(std::memory_order_relaxed);
  if (now < due || !semaphore.next_look.compare_exchange_strong(due, now + slice_nanoseconds)) {
    return;
  }
  take_from_the_dead(semaphore);
}

std::string text_of(const SemaphoreObject& semaphore) {
  constexpr std::size_t most_told = 8;
  std::vector<Stamp> holders;
  any_permit(semaphore, [&](const Permit& permit) {
    const Stamp holder = permit.load();
    if (is_stamp(holder) && std::ranges::find(holders, holder) == holders.end()) {
      holders.push_back(holder);
    }
    return holders.size() == most_told;
  });
  std::string text = "a permit of a semaphore";
  for (const Stamp holder : holders) {
    text += (holder == holders.front() ? ", held by " : ", ") + process_text(holder);
  }
  return text;
}

[[gnu::noinline]] bool wait_and_take(SemaphoreObject& semaphore, Deadline deadline) {
  Waiting waiting({.kind = WaitKind::permit, .target = target_of(semaphore)}, deadline);
  const auto look_around = [&] {
    if (semaphore.gives_back) take_from_the_dead(semaphore);
    SoftLimit::check([&] { return text_of(semaphore); });
    waiting.look_around();
  };
  if (semaphore.gives_back) take_from_the_dead_now_and_then(semaphore);
  if (take(semaphore)) return true;
  SoftLimit::check(deadline);
  if (!semaphore.released.wait([&] { return take(semaphore); }, deadline, look_around)) {
    if (!deadline.is_passed_from_start()) {
      log_text(LogLevel::info,
               [&] { return "a wait came to its time limit: for " + text_of(semaphore); });
    }
    return false;
  }
  // Of several releases only the first may have woken somebody.
  if (count_free(semaphore) > 0) semaphore.released.notify();
  return true;
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::semaphore, [](Object& object) {
    Heap::free_chain(semaphore_in(object).permits);
    return true;
  });
  return true;
}();

// So many free permits, of a semaphore that nobody else knows yet.
void fill(SemaphoreObject& semaphore, int value) {
  for (Owned<PermitBlock>* end = &semaphore.permits; value > 0; end = &(*end)->next) {
    Heap::allocate_into(*end, sizeof(PermitBlock));
    for (Permit& permit : (*end)->permits) {
      if (value-- > 0) permit.store(free);
    }
  }
}

Handle make_semaphore(int value, bool is_bounded, OnDeath on_death) {
  if (value < 0) throw std::invalid_argument("kin: a semaphore of a negative value");
  if (on_death == OnDeath::give_back && value > most_words) {
    throw std::invalid_argument(
        "kin: a semaphore of more than 2^20 permits can't give them back when a process ends: make "
        "it "
        "with {.on_death = kin::OnDeath::keep}");
  }
  return Handle(make_object(ObjectKind::semaphore, sizeof(SemaphoreObject), [&](Object& object) {
    SemaphoreObject& semaphore = semaphore_in(object);
    semaphore.is_bounded = is_bounded;
    semaphore.gives_back = on_death == OnDeath::give_back;
    semaphore.bound = is_bounded ? value : INT_MAX;
    if (semaphore.gives_back) {
      fill(semaphore, value);
    } else {
      semaphore.value.store(value);
    }
  }));
}

}  // namespace

SemaphoreHandle::SemaphoreHandle(int value, bool is_bounded, OnDeath on_death)
    : HandleOf(make_semaphore(value, is_bounded, on_death)) {}

bool SemaphoreHandle::acquire_until(Deadline deadline) const {
  SemaphoreObject& semaphore = semaphore_in(object());
  return take(semaphore) || wait_and_take(semaphore, deadline);
}

void SemaphoreHandle::release(int permits) const {
  SemaphoreObject& semaphore = semaphore_in(object());
  if (permits < 1) throw std::invalid_argument("kin: release() of fewer permits than one");
  if (semaphore.gives_back) {
    // All or none, as of a number; but where several release at once some may be when it throws.
    if (semaphore.is_bounded && permits > 1 && permits > count_taken(semaphore))
      complain_not_taken();
    // If killed in between: some of them are released.
    for (int i = 0; i < permits; ++i) {
      release_word(semaphore);
      semaphore.released.notify();
    }
  } else {
    add_to_number(semaphore, permits);
    semaphore.released.notify();
  }
}

int SemaphoreHandle::value() const {
  SemaphoreObject& semaphore = semaphore_in(object());
  if (semaphore.gives_back) take_from_the_dead_now_and_then(semaphore);
  return count_free(semaphore);
}

}  // namespace kin::detail
