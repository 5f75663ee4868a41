// SPDX-License-Identifier: BSL-1.0
//
// What the server does between calls: it looks for clients that died, and frees what was theirs; and it
// ends objects that nobody refers to any more.

#include "base/log_text.hpp"
#include "manager/line_call.hpp"
#include "manager/server.hpp"
#include "waiting/futex.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace kin::detail {

void Server::look_around() {
  try {
    bury_the_dead();
    collect_dropped();
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): the next time goes on with it
  }
  next_look_ = Deadline::now() + slice_nanoseconds;
}

void Server::bury_the_dead() {
  std::vector<Stamp> processes(clients_.begin(), clients_.end());
  const std::uint32_t lines = state_.lines.load();
  for (std::uint32_t index = 0; index < lines; ++index) {
    const Stamp owner = state_.line(index).owner.load();
    if (owner != 0 && owner != stamp_) processes.push_back(owner);
  }
  std::ranges::sort(processes);
  const auto [first, last] = std::ranges::unique(processes);
  processes.erase(first, last);
  for (const Stamp process : processes) {
    if (sweep_if_gone(process)) bury(process);
  }
}

void Server::bury(Stamp dead) {
  std::vector<bool> is_its(state_.lines.load());
  for (std::uint32_t index = 0; index < is_its.size(); ++index) {
    const CallLine& line = state_.line(index);
    if (line.owner.load() != dead) continue;
    is_its[index] = true;
    // Its requests that are on their way are not answered, and not run.
    book_of(index).floor = line.now().sequence();
  }
  // Also what it had withdrawn, and did not come to tell. Before anything is taken back, which would be theirs.
  for_each_entry([&](Entry& entry) {
    if (parked_ == 0) return;
    forget_parked(entry,
                  [&](const Parked& one) { return one.line < is_its.size() && is_its[one.line]; });
  });
  for (std::uint32_t index = 0; index < is_its.size(); ++index) {
    if (!is_its[index]) continue;
    CallLine& line = state_.line(index);
    const LineWord word = line.now();
    const Book book = book_of(index);
    book_of(index).take_back = nullptr;
    if (word.state() == CallState::answered && book.take_back != nullptr &&
        book.sequence == word.sequence()) {
      take_back(line, book);
    }
    recycle_line(line);
  }
  last_client_ = 0;
  if (clients_.contains(dead)) tell_objects(dead);
  clients_.erase(dead);
  for (auto at = outsiders_.begin(); at != outsiders_.end();) {
    const auto [outsider, session] = *at++;
    if (session == dead) bury_outsider(outsider);
  }
}

// What is called for one may make others: a callback of a pool's, say, another task's result.
void Server::for_each_entry(FunctionRef<void(Entry&)> action) {
  // NOLINTNEXTLINE(modernize-loop-convert)
  for (std::size_t index = 0; index < entries_.size(); ++index) action(*entries_[index]);
}

void Server::tell_objects(std::uint64_t dead) {
  for_each_entry([&](Entry& entry) {
    if (!entry.object) return;
    entry.object->bury(dead);
    retry(entry);
  });
}

std::uint64_t Server::add_outsider(std::uint64_t session) {
  outsiders_.emplace(++last_outsider_, session);
  return last_outsider_;
}

void Server::bury_outsider(std::uint64_t outsider) {
  if (!outsiders_.contains(outsider)) return;
  // What it waits for its session withdraws; but not what goes on, as a condition's wait does at its lock.
  for_each_entry([&](Entry& entry) {
    if (parked_ == 0) return;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> over;
    forget_parked(entry, [&](const Parked& one) {
      const bool is_its = one.has_begun && state_.line(one.line).outsider.load() == outsider;
      if (is_its) over.emplace_back(one.line, one.sequence);
      return is_its;
    });
    for (const auto& [line, sequence] : over) {
      answer(state_, state_.line(line), sequence, {}, {}, LineWord::not_now);
    }
  });
  tell_objects(outsider);
  outsiders_.erase(outsider);
}

void Server::take_back(std::uint32_t index) {
  Book& book = book_of(index);
  const CallLine& line = state_.line(index);
  const LineWord word = line.now();
  if (word.state() != CallState::answered || book.take_back == nullptr ||
      book.sequence != word.sequence()) {
    return;
  }
  take_back(line, book);
  book.take_back = nullptr;
}

namespace {

// The result of a call, as the arguments of the one that takes it back.
class TakingBack final : public HostedCall {
 public:
  TakingBack(void* object, std::span<const std::byte> result, IncomingCargo& cargo, Stamp client)
      : HostedCall(object, result, cargo), client_(client) {}
  [[nodiscard]] std::uint64_t client() override { return client_; }
  void give(std::span<const std::byte> /*bytes*/, const OutgoingCargo& /*cargo*/) override {}
  void park(Attempt /*attempt*/, Withdrawal /*withdrawn*/) override {}
  void take_back_by(HostedCode /*code*/) override {}

 private:
  Stamp client_;
};

}  // namespace

void Server::take_back(const CallLine& line, const Book& book) {
  Entry* const entry = find(book.index, book.generation);
  if (entry == nullptr) return;
  const LineWord word = line.now();
  if (word.has(LineWord::exception) || word.has(LineWord::not_now)) return;
  try {
    IncomingCargo cargo;
    if (word.has(LineWord::cargo)) claim_cargo(*line.cargo, cargo);
    const std::span<const std::byte> result =
        word.has(LineWord::in_block)
            ? std::span<const std::byte>(line.block.address(), line.length.load())
            : std::span<const std::byte>(line.result.data(), word.length());
    // It was handed out in the outsider's name, where a session called for one.
    const std::uint64_t outsider = line.outsider.load();
    TakingBack call(entry->object->address(), result, cargo,
                    outsider != 0 ? outsider : line.owner.load());
    book.take_back(call);
  } catch (const std::exception& error) {
    log_text(LogLevel::error, [&] {
      return std::string(
                 "a manager could not take back what it had handed to a client that died: ") +
             error.what();
    });
  }
  retry(*entry);
}

void Server::collect_dropped() {
  // What ends may be all that referred to another.
  while (true) {
    const std::uint32_t drops = state_.drops.load();
    if (drops == drops_seen_) return;
    drops_seen_ = drops;
    for (std::uint32_t index = 1; index < entries_.size(); ++index) {
      Entry& entry = *entries_[index];
      if (!entry.object) continue;
      const DropBlock& block = *state_.drop_blocks[index / DropBlock::size];
      if (block.generations[index % DropBlock::size].load() != entry.generation) continue;
      if (entry.calls != 0) {
        drops_seen_ = drops - 1;  // later
        continue;
      }
      end(entry);
      free_entries_.push_back(index);
    }
    if (drops_seen_ != drops) return;
  }
}

void Server::end(Entry& entry) {
  parked_ -= entry.parked.size();
  entry.parked.clear();
  --objects_;
  try {
    entry.object.reset();
  } catch (...) {  // NOLINT(bugprone-empty-catch): a destructor that throws is its own affair
  }
}

void Server::end_all() {
  state_.phase.store(ManagerState::ended);
  for (const auto& entry : entries_) {
    for (const Parked& parked : entry->parked) {
      CallLine& line = state_.line(parked.line);
      if (!parked.has_begun && !begin_call(line, parked.sequence, CallState::parked)) continue;
      const RequestHead head{.code = parked.code,
                             .line = parked.line,
                             .sequence = parked.sequence,
                             .index = 0,
                             .generation = 0,
                             .flags = 0,
                             .limit = 0};
      IncomingCargo none;
      LineCall(*this, *entry, head, {}, none)
          .fail(std::make_exception_ptr(ManagerDied("the manager was shut down")));
    }
    entry->parked.clear();
  }
  for (const auto& entry : entries_) end(*entry);
}

ManagerStatistics Server::statistics() {
  look_around();
  std::vector<Stamp> owners;
  const std::uint32_t lines = state_.lines.load();
  for (std::uint32_t index = 0; index < lines; ++index) {
    if (const Stamp owner = state_.line(index).owner.load(); owner != 0) owners.push_back(owner);
  }
  std::ranges::sort(owners);
  const auto clients = std::ranges::unique(owners).begin() - owners.begin();
  return {.objects = objects_,
          .calls = calls_,
          .parked = parked_,
          .clients = static_cast<std::size_t>(clients)};
}

}  // namespace kin::detail
