// SPDX-License-Identifier: BSL-1.0
//
// The ends that a process has: all are in a list, so that a process of kin's own can close what it
// inherited; and their descriptors, which one thread may close while another sleeps on them.

#include "connection/end_state.hpp"

#include "base/immortal.hpp"
#include "os/fork.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include <unistd.h>

namespace kin::detail {
namespace {

// In a child: an end that another thread of the parent's had closed, and whose descriptors waited for the
// last who slept on them. Nobody sleeps on them here.
void close_what_was_closed() noexcept {
  all_ends().with([](Ends& all) {
    for (End::State* one = all.first; one != nullptr; one = one->next) {
      if (!one->is_closed.load() || !one->socket) continue;
      one->close_descriptors();
      one->tell_peers();
    }
  });
}

[[maybe_unused]] const bool ends_are_made = [] {
  made_at_load(all_ends);
  call_in_children(close_what_was_closed);
  return true;
}();

// Who notes the ends that this thread copies; the innermost.
thread_local EndsNoted* noting = nullptr;

}  // namespace

Guarded<Ends>& all_ends() {
  static Immortal<Guarded<Ends>> ends;
  return *ends;
}

// ---- one end

End::State::State(Handle in_channel, Handle out_channel, Handle socket_stream)
    : in(std::move(in_channel)), out(std::move(out_channel)), stream(std::move(socket_stream)) {
  all_ends().with([this](Ends& all) {
    next = std::exchange(all.first, this);
    if (next != nullptr) next->before = this;
  });
}

End::State::~State() {
  close();
  all_ends().with([this](Ends& all) {
    (before != nullptr ? before->next : all.first) = next;
    if (next != nullptr) next->before = before;
  });
}

void End::State::close() noexcept {
  if (is_closed.exchange(true)) return;
  all_ends().with([this](Ends&) {
    if (users == 0 || users_of != ::getpid()) close_descriptors();
  });
  tell_peers();
}

void End::State::close_inherited() noexcept {
  was_inherited = true;
  is_closed.store(true);
  all_ends().with([this](Ends&) { close_descriptors(); });
  tell_peers();
}

void End::State::close_descriptors() noexcept {
  socket.reset();
  watch.reset();
  own_bell.reset();
}

void End::State::tell_peers() const noexcept {
  for (const Handle* handle : {&in, &out}) {
    if (!*handle) continue;
    ByteChannel& channel = channel_of(*handle);
    channel.closings.fetch_add(1);
    channel.room.notify_all();
  }
}

void complain_closed(const End::State& end) {
  if (end.was_inherited) {
    throw std::logic_error(
        "kin: this end of the pipe is not open in this process: of the ends that there were when "
        "the pool was made, workers have those only that its initializer captured by value, each "
        "by itself; give others as arguments");
  }
  throw std::logic_error("kin: this end of the pipe was closed in this process");
}

Use::Use(End::State& end) : end_(end) {
  all_ends().with([&](Ends&) {
    if (end.is_closed.load()) complain_closed(end);
    if (end.users_of != ::getpid()) {
      end.users_of = ::getpid();
      end.users = 0;
    }
    ++end.users;
  });
}

Use::~Use() {
  bool last = false;
  all_ends().with([&](Ends&) {
    last = --end_.users == 0 && end_.is_closed.load();
    if (last) end_.close_descriptors();
  });
  if (last) end_.tell_peers();
}

// ---- all of them

End::End(const End& other) : state_(other.state_) {
  if (noting != nullptr && state_) noting->note(*this);
}
End::End(End&& other) noexcept : state_(std::move(other.state_)) {
  if (noting != nullptr && state_) noting->note(*this);
}

void End::close_inherited(std::span<const End> kept) {
  std::vector<State*> unwanted;
  all_ends().with([&](Ends& all) {
    for (State* one = all.first; one != nullptr; one = one->next) {
      const auto is_it = [one](const End& end) { return end.state_.get() == one; };
      if (std::ranges::none_of(kept, is_it)) unwanted.push_back(one);
    }
  });
  // They stay where they are: this process has one thread, and nobody lets go of a handle.
  for (State* one : unwanted) one->close_inherited();
}

EndsNoted::EndsNoted() noexcept : outer_(std::exchange(noting, this)) {}
EndsNoted::~EndsNoted() { noting = outer_; }

void EndsNoted::note(const End& end) noexcept {
  noting = nullptr;  // not the copy that it keeps
  try {
    ends_.push_back(end);
  } catch (...) {
    is_complete_ = false;
  }
  noting = this;
}

std::vector<End> EndsNoted::take() {
  if (!is_complete_) throw std::bad_alloc();
  return std::move(ends_);
}

}  // namespace kin::detail
