// SPDX-License-Identifier: BSL-1.0
//
// Who waits for what. A thread takes a record when it has waited for a while, and gives it back when
// it has what it waited for; most waits are over before that and leave no trace. A record says
// something only from the store that begins a wait until the store that ends it, and the sequence number
// beside it tells readers whether it was one and the same wait all the time.
//
// A record of a process that is gone is cleared by the sweep, and where that has not come yet by whoever
// finds the table full.

#include "memory/wait_table.hpp"

#include "memory/arena.hpp"

#include "base/thread_id.hpp"

#include <span>

namespace kin::detail {
namespace {

constexpr std::uint64_t state_word(std::uint64_t sequence, std::uint8_t flags, WaitKind kind) {
  return (sequence << 16) | (std::uint64_t{flags} << 8) | static_cast<std::uint64_t>(kind);
}
constexpr std::uint64_t sequence_in(std::uint64_t state) { return state >> 16; }
constexpr std::uint8_t flags_in(std::uint64_t state) {
  return static_cast<std::uint8_t>(state >> 8);
}
constexpr WaitKind kind_in(std::uint64_t state) { return static_cast<WaitKind>(state & 0xff); }

constexpr std::uint64_t next_state(std::uint64_t before, std::uint8_t flags, WaitKind kind) {
  return state_word(sequence_in(before) + 1, flags, kind);
}

WaitTable& table() { return *arena().waits; }

// Frees a record of a process that is gone, unless somebody else has by now.
void clear(WaitRecord& record, Stamp dead) noexcept {
  std::uint64_t state = record.state.load();
  if (record.process.load() != dead) return;
  // The state first: whoever takes the record finds one that says nothing. It fails where another has
  // cleared it, and a third has taken it since, as the sequence is another then.
  if (kind_in(state) != WaitKind::none &&
      !record.state.compare_exchange_strong(state, next_state(state, 0, WaitKind::none))) {
    return;
  }
  // If killed here: it says nothing, and is cleared by the next who comes by.
  record.process.compare_exchange_strong(dead, 0);
}

// One that is free; null when there is none.
WaitRecord* take_record(Stamp own) noexcept {
  WaitTable& all = table();
  for (std::size_t at = 0; at < WaitTable::most; ++at) {
    // Before the record is taken, so that whoever reads them all reads this one too.
    std::uint32_t used = all.used.load();
    while (used <= at &&
           !all.used.compare_exchange_weak(used, static_cast<std::uint32_t>(at + 1))) {
    }
    Stamp nobody = 0;
    // If killed behind this: it says nothing, and is freed by the sweep.
    WaitRecord& record = all.records[at];
    if (record.process.load() == 0 && record.process.compare_exchange_strong(nobody, own)) {
      return &record;
    }
  }
  return nullptr;
}

}  // namespace

WaitRecord* begin_wait(Wait wait) noexcept {
  const Stamp own = this_process_or_none();
  if (own == 0) return nullptr;
  WaitRecord* record = take_record(own);
  if (record == nullptr) {
    for (WaitRecord& one : table().records) {
      const Stamp process = one.process.load();
      if (process != 0 && is_gone(process)) clear(one, process);
    }
    record = take_record(own);
    if (record == nullptr) return nullptr;
  }
  record->thread.store(thread_id());
  record->target.store(wait.target);
  record->since.store(wait.since);
  record->where.store(wait.where);
  // If killed before this: nobody reads the rest. Behind it: the sweep ends the wait.
  record->state.store(next_state(record->state.load(), wait.flags, wait.kind));
  return record;
}

void end_wait(WaitRecord& record) noexcept {
  const Stamp own = this_process_or_none();
  if (record.process.load() != own || record.thread.load() != thread_id()) return;
  record.state.store(next_state(record.state.load(), 0, WaitKind::none));
  // If killed here: it says nothing, and is freed by the sweep.
  record.process.store(0);
}

std::optional<Wait> read_wait(const WaitRecord& record) noexcept {
  const std::uint64_t state = record.state.load();
  if (kind_in(state) == WaitKind::none) return std::nullopt;
  const Wait wait{.process = record.process.load(),
                  .thread = record.thread.load(),
                  .kind = kind_in(state),
                  .flags = flags_in(state),
                  .target = record.target.load(),
                  .since = record.since.load(),
                  .where = record.where.load(),
                  .sequence = sequence_in(state)};
  // The rest changes only while it says nothing, and the next wait has another number.
  if (record.state.load() != state) return std::nullopt;
  return wait;
}

std::span<const WaitRecord> all_waits() noexcept {
  const WaitTable& all = table();
  return {all.records.data(), all.used.load()};
}

void forget_waits_of(Stamp dead) noexcept {
  WaitTable& all = table();
  for (WaitRecord& record : std::span(all.records.data(), all.used.load())) {
    if (record.process.load() == dead) clear(record, dead);
  }
}

std::uint32_t next_lock_number() noexcept { return table().locks_made.fetch_add(1) + 1; }

}  // namespace kin::detail
