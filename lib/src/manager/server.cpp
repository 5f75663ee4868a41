// SPDX-License-Identifier: BSL-1.0
//
// The server's loop: a request, the call, its answer. burial.cpp has what it does beside that, for the
// dead and the dropped.

#include "manager/server.hpp"

#include "manager/line_call.hpp"
#include "waiting/futex.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace kin::detail {

Server::Server(ManagerState& state)
    : state_(state),
      stamp_(this_process()),
      books_(static_cast<Book*>(std::calloc(ManagerState::most_lines, sizeof(Book)))) {
  if (!books_) throw std::bad_alloc();
  enter();
  // The first is the root; its handle is the maker's to make.
  auto& root = entries_.emplace_back(std::make_unique<Entry>());
  root->object = std::make_unique<HostedOf<HostRoot>>();
}

Server::~Server() {
  end_all();
  leave();
}

void Server::run() {
  NoLine no_line;
  RequestHead head{};
  const auto read_head = [&](const Part& part) {
    if (part.bytes.size() >= sizeof head) std::memcpy(&head, part.bytes.data(), sizeof head);
  };
  const auto read = [&](const Part& part) {
    if (part.bytes.size() < sizeof head) return;
    request_.assign(part.bytes.begin() + sizeof head, part.bytes.end());
    read_head(part);
  };
  try {
    look_around();
    while (true) {
      // It answers, though not through a channel: see linger().
      hungry_gets = 0;
      bool has_come = true;
      std::exception_ptr why_not_whole;
      try {
        has_come = get(*state_.requests, read, &cargo_, no_line, Deadline::at(next_look_));
      } catch (const QueueShutDown&) {
        throw;
      } catch (const std::exception&) {
        // There is no memory here for it, or no room for a descriptor. It is the call's affair: of which no more
        // is taken than whose it is.
        why_not_whole = std::current_exception();
        cargo_.clear();
        request_.clear();
        has_come = try_get(*state_.requests, read_head, nullptr, no_line, Deadline::never());
        if (!has_come) throw;
      }
      if (!has_come) {
        look_around();
        continue;
      }
      serve(head, request_, why_not_whole);
      cargo_.clear();
      constexpr std::size_t calls_between_looks = 64;
      if (++calls_ % calls_between_looks == 0 && Deadline::now() >= next_look_) look_around();
    }
  } catch (const QueueShutDown& end) {
    static_cast<void>(end);
  }
}

void Server::serve(const RequestHead& head, std::span<const std::byte> arguments,
                   const std::exception_ptr& why_not_whole) {
  Entry* const entry = find(head.index, head.generation);
  if (head.code == nullptr) {
    if (entry == nullptr) return;
    if (head.line == RequestHead::no_line) {
      ++entry->calls;
      entry->object->nudged();
      --entry->calls;
    }
    forget_parked(*entry, [&](const Parked& one) {
      return one.line == head.line && one.sequence == head.sequence;
    });
    return;
  }
  Book& book = book_of(head.line);
  // Of one that is dead, whose line is another's by now.
  if (static_cast<std::int32_t>(head.sequence - book.floor) <= 0) return;
  book.floor = head.sequence;
  // Its client has read what was answered before.
  book.take_back = nullptr;
  CallLine& line = state_.line(head.line);
  if ((head.flags & RequestHead::may_be_withdrawn) != 0 &&
      !begin_call(line, head.sequence, CallState::called)) {
    return;
  }
  // While somebody calls it there is a handle; so whoever did is dead, or had no memory for send_along().
  if (entry == nullptr) {
    answer(state_, line, head.sequence, {}, {}, LineWord::not_now);
    return;
  }
  LineCall call(*this, *entry, head, arguments, cargo_);
  ++entry->calls;
  try {
    if (why_not_whole) std::rethrow_exception(why_not_whole);
    check_code(reinterpret_cast<const void*>(head.code), typeid(void));
    head.code(call);
    if (!call.is_settled()) throw std::logic_error("kin: a call without an answer");
  } catch (...) {
    if (!call.is_settled()) call.fail(std::current_exception());
  }
  --entry->calls;
  retry(*entry);
}

Server::Entry* Server::find(std::uint32_t index, std::uint32_t generation) noexcept {
  if (index >= entries_.size()) return nullptr;
  Entry& entry = *entries_[index];
  return entry.object && entry.generation == generation ? &entry : nullptr;
}

void Server::check_code(const void* code, const std::type_info& function) {
  const void*& known =
      known_code_[(reinterpret_cast<std::uintptr_t>(code) >> 4) % known_code_.size()];
  if (known == code) return;
  if (!images_.holds(code)) {
    if (function == typeid(void)) {
      throw std::invalid_argument(
          "kin: this call's code was not loaded when the manager was made: a plugin has to be "
          "there "
          "before the manager is");
    }
    detail::check_code(code, function, &images_);
  }
  known = code;
}

Stamp Server::client_of(const CallLine& line) {
  if (const std::uint64_t outsider = line.outsider.load(); outsider != 0) return outsider;
  const Stamp client = line.owner.load();
  if (client == last_client_) return client;
  clients_.insert(client);
  last_client_ = client;
  return client;
}

Handle Server::host(std::unique_ptr<Hosted> object, const std::type_info& type) {
  if (free_entries_.empty()) {
    free_entries_.reserve(entries_.size() + 1);
    entries_.push_back(std::make_unique<Entry>());
    entries_.back()->index = static_cast<std::uint32_t>(entries_.size() - 1);
    free_entries_.push_back(entries_.back()->index);
  }
  const std::uint32_t index = free_entries_.back();
  Entry& entry = *entries_[index];
  Handle handle(make_hosted(state_, index, entry.generation + 1, type_number(type)));
  free_entries_.pop_back();
  ++entry.generation;
  entry.object = std::move(object);
  ++objects_;
  return handle;
}

// ---- parked calls

void Server::retry(Entry& entry) {
  if (entry.calls != 0 || entry.parked.empty()) return;
  ++entry.calls;
  while (retry_once(entry)) {
  }
  --entry.calls;
}

// Whether one of them was answered, so that others may be, too. Of those that wait for the same, the first
// is the one who gets it. Needs no memory of its own.
bool Server::retry_once(Entry& entry) {
  bool has_answered = false;
  for (auto at = entry.parked.begin(); at != entry.parked.end();) {
    Parked& parked = *at;
    // Those before it were tried in vain: who was answered is gone.
    if (std::any_of(entry.parked.begin(), at,
                    [&](const Parked& one) { return one.code == parked.code; })) {
      ++at;
      continue;
    }
    CallLine& line = state_.line(parked.line);
    if (!parked.has_begun && !begin_call(line, parked.sequence, CallState::parked)) {
      parked.withdrawn();
      at = entry.parked.erase(at);
      --parked_;
      has_answered = true;
      continue;
    }
    const RequestHead head{.code = parked.code,
                           .line = parked.line,
                           .sequence = parked.sequence,
                           .index = entry.index,
                           .generation = entry.generation,
                           .flags = 0,
                           .limit = 0};
    IncomingCargo none;
    LineCall call(*this, entry, head, {}, none);
    bool is_over = true;
    try {
      is_over = parked.attempt(call);
    } catch (...) {
      if (!call.is_settled()) call.fail(std::current_exception());
    }
    if (is_over) {
      at = entry.parked.erase(at);
      --parked_;
      has_answered = true;
    } else {
      if (!parked.has_begun) park_call(line, parked.sequence);
      ++at;
    }
  }
  return has_answered;
}

void Server::forget_parked(Entry& entry, FunctionRef<bool(const Parked&)> is_over) {
  std::list<Parked> over;
  for (auto at = entry.parked.begin(); at != entry.parked.end();) {
    const auto one = at++;
    if (is_over(*one)) over.splice(over.end(), entry.parked, one);
  }
  parked_ -= over.size();
  // Out of the list: this may call objects, and so have others tried.
  for (Parked& one : over) one.withdrawn();
  retry(entry);
}

}  // namespace kin::detail
