// SPDX-License-Identifier: BSL-1.0
//
// The book of a JoinableQueue. What a dead taker had not finished counts as done, so that join() ends,
// and join() says so; deaths are noticed by those who wait in join().

#include "channel/ledger.hpp"

#include "channel/byte_channel.hpp"
#include "deadlock/waiting.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace kin::detail {
namespace {

// All of this with the head lock held, except join() itself.

void apply(Ledger& ledger) {
  Ledger::Entry& entry = ledger.entry;
  Taker& taker = *entry.taker.load();
  // If killed among these: recover_ledger() makes them again; they are values, not differences.
  taker.taken.store(entry.taken.load());
  taker.done.store(entry.done.load());
  taker.pid.store(entry.pid.load());
  taker.who.store(entry.who.load());
  ledger.finished.store(entry.finished.load());
  ledger.lost.store(entry.lost.load());
  entry.taker.store(nullptr);
}

struct Change {
  Taker& taker;
  Stamp who;
  std::uint32_t taken;
  std::uint32_t done;
  std::uint32_t finished;
  std::uint32_t lost;
};

void tell(Ledger& ledger, const Change& change, std::uint32_t position) {
  Ledger::Entry& entry = ledger.entry;
  entry.taker.store(nullptr);  // a get that threw may have left its entry
  entry.position.store(position);
  entry.who.store(change.who);
  entry.pid.store(change.who == 0 ? 0 : pid_of(change.who));
  entry.taken.store(change.taken);
  entry.done.store(change.done);
  entry.finished.store(change.finished);
  entry.lost.store(change.lost);
  entry.taker.store(&change.taker);
}

std::uint32_t head_position(const ByteChannel& channel) {
  return Cursor(channel.head.load()).position();
}

std::uint32_t unfinished(const ByteChannel& channel) {
  const std::uint32_t finished = channel.ledger.finished.load();
  return (Cursor(channel.tail.load()).count() - finished) & Cursor::count_mask;
}

template <typename Visit>
Taker* find_taker(Ledger& ledger, Visit&& visit) {
  for (TakerBlock* block = ledger.takers.get(); block != nullptr; block = block->next.get()) {
    for (auto& taker : block->takers) {
      if (visit(taker)) return &taker;
    }
  }
  return nullptr;
}

// Counts as done what a process had taken and not finished, and frees its place in the book.
void write_off(ByteChannel& channel, Taker& taker) {
  Ledger& ledger = channel.ledger;
  const auto open = static_cast<std::int32_t>(taker.taken.load() - taker.done.load());
  const std::uint32_t lost =
      open <= 0 ? 0 : std::min(static_cast<std::uint32_t>(open), unfinished(channel));
  if (lost > 0) {
    const std::uint32_t place = ledger.lost_takers.load() % Ledger::most_pids;
    ledger.lost_pids[place].store(taker.pid.load());
    ledger.lost_takers.store(ledger.lost_takers.load() + 1);
  }
  // If killed here: a pid may be named twice.
  tell(ledger,
       {taker, 0, 0, 0, (ledger.finished.load() + lost) & Cursor::count_mask,
        ledger.lost.load() + lost},
       head_position(channel));
  apply(ledger);
}

bool write_off_the_dead(ByteChannel& channel) {
  bool found = false;
  find_taker(channel.ledger, [&](Taker& taker) {
    if (taker.who.load() != 0 && is_gone(taker.who.load())) {
      write_off(channel, taker);
      found = true;
    }
    return false;
  });
  return found;
}

Taker& own_taker(ByteChannel& channel) {
  Ledger& ledger = channel.ledger;
  const Stamp own = this_process();
  const auto is_own = [&](const Taker& taker) { return taker.who.load() == own; };
  const auto is_free = [](const Taker& taker) { return taker.who.load() == 0; };
  if (Taker* found = find_taker(ledger, is_own)) return *found;
  if (Taker* found = find_taker(ledger, is_free)) return *found;
  if (write_off_the_dead(channel)) return *find_taker(ledger, is_free);
  Owned<TakerBlock>* end = &ledger.takers;
  while (*end) end = &(*end)->next;
  Heap::allocate_into(*end, sizeof(TakerBlock));
  return (*end)->takers.front();
}

std::string lost_message(std::uint32_t count, const std::vector<pid_t>& pids) {
  std::string text = "join(): " + std::to_string(count) +
                     " message(s) were taken by a process that died before task_done(): pid";
  for (const pid_t pid : pids) text += " " + std::to_string(pid);
  return text;
}

// Throws when messages were lost that no join() has told of, or since this one began.
void tell_of_losses(ByteChannel& channel, std::uint32_t lost_before) {
  Ledger& ledger = channel.ledger;
  std::vector<pid_t> pids;
  std::uint32_t count = 0;
  {
    const RobustGuard guard(channel.head_lock, [&] { recover_head(channel); });
    const std::uint32_t told = ledger.lost_told.load();
    count = ledger.lost.load() - std::min(told, lost_before);
    if (count == 0) return;
    ledger.lost_told.store(ledger.lost.load());
    const std::uint32_t takers = ledger.lost_takers.load();
    const auto kept = std::min<std::uint32_t>({takers, count, Ledger::most_pids});
    for (std::uint32_t i = takers - kept; i != takers; ++i) {
      pids.push_back(ledger.lost_pids[i % Ledger::most_pids].load());
    }
  }
  throw OwnerDied(lost_message(count, pids), pids, count);
}

}  // namespace

void note_taking(ByteChannel& channel, std::uint32_t position) {
  Ledger& ledger = channel.ledger;
  Taker& taker = own_taker(channel);
  const bool known = taker.who.load() != 0;
  tell(ledger,
       {taker, this_process(), known ? taker.taken.load() + 1 : 1, known ? taker.done.load() : 0,
        ledger.finished.load(), ledger.lost.load()},
       position);
}

void note_taken(ByteChannel& channel) { apply(channel.ledger); }

void recover_ledger(ByteChannel& channel) {
  Ledger& ledger = channel.ledger;
  if (ledger.entry.taker.load() == nullptr) return;
  if (ledger.entry.position.load() == head_position(channel)) {
    apply(ledger);
  } else {
    ledger.entry.taker.store(nullptr);  // it died before it took the message
  }
}

void task_done(ByteChannel& channel) {
  bool all = false;
  {
    const RobustGuard guard(channel.head_lock, [&] { recover_head(channel); });
    Ledger& ledger = channel.ledger;
    if (unfinished(channel) == 0) {
      throw std::logic_error("kin: task_done() was called more often than put()");
    }
    Taker& taker = own_taker(channel);
    const bool known = taker.who.load() != 0;
    tell(ledger,
         {taker, this_process(), known ? taker.taken.load() : 0, known ? taker.done.load() + 1 : 1,
          (ledger.finished.load() + 1) & Cursor::count_mask, ledger.lost.load()},
         head_position(channel));
    // If killed here: it is done; recover_ledger() writes it down.
    apply(ledger);
    all = unfinished(channel) == 0;
  }
  if (all) channel.ledger.all_done.notify_all();
}

bool join(ByteChannel& channel, Deadline deadline) {
  const std::uint32_t lost_before = channel.ledger.lost.load();
  const auto all_done = [&] { return unfinished(channel) == 0; };
  const auto look_for_the_dead = [&] {
    const RobustGuard guard(channel.head_lock, [&] { recover_head(channel); });
    write_off_the_dead(channel);
  };
  Waiting waiting({.kind = WaitKind::tasks_done, .target = target_of(channel)}, deadline);
  const auto look_around = [&] {
    look_for_the_dead();
    if (!all_done()) SoftLimit::check(deadline);
    waiting.look_around();
  };
  if (!all_done()) look_around();
  if (!channel.ledger.all_done.wait(all_done, deadline, look_around)) return false;
  tell_of_losses(channel, lost_before);
  return true;
}

}  // namespace kin::detail
