// SPDX-License-Identifier: BSL-1.0
//
// Calls that nobody waits for yet: each has a line to itself, that a Future looks at. There is no thread,
// until somebody wants to be called when one is over: then there is one for each manager, as long as it
// has any to look at.

#include "base/fork_depth.hpp"
#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/own_thread.hpp"
#include "base/readable_type.hpp"
#include "manager/link.hpp"
#include "manager/refusal.hpp"
#include "manager/server.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"
#include "wire/exception.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <list>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace kin::detail {
namespace {

// ---- the lines of this process that are no thread's

using Lines = std::list<std::unique_ptr<ThreadLine>>;

/// One that is in no list. It goes into one without memory, as a Future's destructor has to.
class LooseLine {
 public:
  LooseLine() = default;
  explicit LooseLine(std::unique_ptr<ThreadLine> line) { one_.push_back(std::move(line)); }
  LooseLine(Lines& from, Lines::const_iterator at) { one_.splice(one_.end(), from, at); }
  LooseLine(LooseLine&&) noexcept = default;
  LooseLine& operator=(LooseLine&&) noexcept = default;
  LooseLine(const LooseLine&) = delete;
  LooseLine& operator=(const LooseLine&) = delete;
  ~LooseLine() = default;

  explicit operator bool() const noexcept { return !one_.empty(); }
  ThreadLine& operator*() const noexcept { return *one_.front(); }
  ThreadLine* operator->() const noexcept { return one_.front().get(); }
  void put_into(Lines& lines) noexcept { lines.splice(lines.end(), one_); }
  void reset() noexcept { one_.clear(); }
  /// In a child: it is the parent's.
  void abandon() noexcept { static_cast<void>(one_.front().release()); }

 private:
  Lines one_;
};

struct AsyncLines {
  Lines free;
  Lines aside;  // with calls that no Future names any more
  int depth = 0;
};

Guarded<AsyncLines>& async_lines() {
  static Immortal<Guarded<AsyncLines>> lines;
  return *lines;
}
[[maybe_unused]] const bool async_lines_are_made = made_at_load(async_lines);

void keep_free(LooseLine line) noexcept {
  async_lines().with([&](AsyncLines& all) { line.put_into(all.free); });
}

// They keep what their servers shared with us.
void drop_lines(FunctionRef<bool(Stamp server)> is_over) {
  Lines dropped;  // without the lock
  async_lines().with([&](AsyncLines& all) {
    for (Lines* const lines : {&all.free, &all.aside}) {
      for (auto at = lines->begin(); at != lines->end();) {
        const auto one = at++;
        if (is_over((*one)->server)) dropped.splice(dropped.end(), *lines, one);
      }
    }
  });
}

LooseLine take_async_line(const HostedObject& hosted) {
  LooseLine found;
  Lines of_others;  // let go of without the lock
  async_lines().with([&](AsyncLines& all) {
    if (std::exchange(all.depth, fork_depth) != fork_depth) {
      of_others.splice(of_others.end(), all.free);
      of_others.splice(of_others.end(), all.aside);
    }
    const auto take = [&](Lines& lines, auto fits) {
      const auto at = std::ranges::find_if(
          lines, [&](const auto& one) { return one->server == hosted.server && fits(*one); });
      if (!found && at != lines.end()) found = LooseLine(lines, at);
    };
    take(all.aside,
         [](const ThreadLine& one) { return one.line->now().state() == CallState::answered; });
    take(all.free, [](const ThreadLine&) { return true; });
  });
  if (!found) {
    drop_lines([&](Stamp server) { return server != hosted.server && is_gone(server); });
    return LooseLine(make_line(hosted));
  }
  settle(*found->line);
  return found;
}

}  // namespace

void forget_async_lines(Stamp server) noexcept {
  drop_lines([&](Stamp one) { return one == server; });
}

/// A call with a line to itself.
class AsyncCall final : public Task {
 public:
  AsyncCall(Handle hosted, const std::type_info& function, LooseLine line)
      : hosted_(std::move(hosted)), function_(&function), line_(std::move(line)) {}

  [[nodiscard]] Stage stage() const override {
    check_process();
    // Asked first: what the server had answered before it died is there, then.
    const bool is_dead = is_dead_.load();
    const LineWord now = line_->line->now();
    switch (now.state()) {
      case CallState::answered:
        return now.has(LineWord::exception) ? Stage::failed : Stage::finished;
      case CallState::idle: return Stage::cancelled;
      default: break;
    }
    if (is_dead) return Stage::failed;
    return now.state() == CallState::running ? Stage::running : Stage::pending;
  }

  [[nodiscard]] bool wait_until_over(Deadline deadline) override {
    const auto is_over_now = [this] { return is_over(stage()); };
    if (is_over_now()) return true;
    if (deadline.is_passed_from_start()) return false;
    if (spin(is_over_now, deadline, nullptr)) return true;
    CallLine& line = *line_->line;
    while (!is_over_now()) {
      if (deadline.has_passed()) return false;
      SoftLimit::check();
      const LineWord now = line.now();
      if (now.state() == CallState::answered || now.state() == CallState::idle) continue;
      std::uint64_t before = now.bits();
      const LineWord asleep = now.with(LineWord::awaited);
      if (before != asleep.bits() && !line.word.compare_exchange_strong(before, asleep.bits())) {
        continue;
      }
      if (!futex_wait_slice(line.sleepers_word(), asleep.low(), deadline)) look_around();
    }
    return true;
  }

  void look_around() override {
    if (is_gone(line_->server)) note_death();
  }
  /// The server is gone: what it has not answered now, it will not.
  void note_death() noexcept { is_dead_.store(true); }

  bool cancel(bool /*kill*/) override {
    CallLine& line = *line_->line;
    while (true) {
      const LineWord now = line.now();
      const Stage stage_now = stage();
      if (stage_now == Stage::cancelled) return true;
      if (is_over(stage_now) || now.state() != CallState::called) return false;
      std::uint64_t before = now.bits();
      const LineWord idle(now.sequence(), CallState::idle);
      if (!line.word.compare_exchange_strong(before, idle.bits())) continue;
      if (now.has(LineWord::awaited)) futex_wake(line.sleepers_word(), INT32_MAX);
      if (now.has(LineWord::observed)) ring_bell();
      return true;
    }
  }

  [[nodiscard]] std::exception_ptr failure() override {
    switch (stage()) {
      case Stage::cancelled:
        return std::make_exception_ptr(CancelledError("the call was cancelled: " + name()));
      case Stage::failed: break;
      default: return nullptr;
    }
    if (line_->line->now().state() != CallState::answered) {
      try {
        complain_server_died(line_->link->state());
      } catch (...) {
        return std::current_exception();
      }
    }
    IncomingCargo cargo;
    std::exception_ptr exception = take_exception(message(cargo), cargo);
    if (line_->line->now().has(LineWord::refused)) {
      exception = name_refused(exception, *function_, {});
    }
    return exception;
  }

  [[nodiscard]] std::span<const std::byte> message(IncomingCargo& cargo) override {
    check_process();
    cargo.clear();
    const CallLine& line = *line_->line;
    if (line.now().has(LineWord::cargo)) claim_cargo(*line.cargo, cargo);
    return answer_in(line);
  }
  [[nodiscard]] bool is_message() const noexcept override { return true; }
  [[nodiscard]] std::string name() const override { return readable_type(*function_); }

  using Task::call_observers;
  void rings_at(std::uint32_t bell_line) { line_->line->bell_line.store(bell_line); }
  [[nodiscard]] ThreadLine& line() const noexcept { return *line_; }
  [[nodiscard]] const HostedObject& hosted() const { return HostedObject::of(hosted_.object()); }
  void ring_bell() {
    FutexWord& bell = line_->link->state().line(line_->line->bell_line.load()).bell;
    bell.fetch_add(1);
    futex_wake(bell, INT32_MAX);
  }

 private:
  void check_process() const {
    if (depth_ != fork_depth) {
      throw std::logic_error("kin: " + name() + " belongs to the process that called");
    }
  }
  bool want_notice() override;
  void forget_notice() noexcept override {}
  void dispose() noexcept override {
    if (depth_ != fork_depth) {
      line_.abandon();
    } else if (is_dead_.load()) {
      line_.reset();
    } else if (is_over(stage())) {
      settle(*line_->line);
      keep_free(std::move(line_));
    } else {
      send_along(*line_, hosted_);
      async_lines().with([&](AsyncLines& all) { line_.put_into(all.aside); });
    }
    delete this;
  }

  Handle hosted_;  // stays until the call is over
  const std::type_info* function_;
  LooseLine line_;
  std::atomic<bool> is_dead_{false};
  int depth_ = fork_depth;
};

// ---- who wants to be called when a call is over

namespace {

struct Watched {
  LooseLine bell_line;
  std::list<TaskRef> calls;
};
struct Watches {
  std::vector<std::unique_ptr<Watched>> all;
  int depth = 0;
};

Guarded<Watches>& watches() {
  static Immortal<Guarded<Watches>> all;
  return *all;
}
[[maybe_unused]] const bool watches_are_made = made_at_load(watches);

// The thread, for one manager. It allocates nothing: there is nobody whom it could tell that it can't.
void watch(Watched& own) {
  const Stamp server = own.bell_line->server;
  const CallLine& line = *own.bell_line->line;
  const ManagerState& manager = own.bell_line->link->state();
  LooseLine bell_line;
  while (!bell_line) {
    const std::uint32_t rings = line.bell.load();
    std::list<TaskRef> over;
    watches().with([&](Watches& watches) {
      // Each is looked at once: it may end at any time.
      for (auto at = own.calls.begin(); at != own.calls.end();) {
        const auto call = at++;
        if (Task::is_over((*call)->stage())) over.splice(over.end(), own.calls, call);
      }
      if (!over.empty() || !own.calls.empty()) return;
      bell_line = std::move(own.bell_line);
      std::erase_if(watches.all, [&](const auto& one) { return one.get() == &own; });
    });
    for (const TaskRef& call : over) static_cast<AsyncCall&>(*call).call_observers();
    if (bell_line || !over.empty()) continue;
    const bool rang = futex_wait_slice(line.bell, rings, Deadline::never());
    if ((rang && manager.phase.load() == ManagerState::open) || !is_gone(server)) continue;
    watches().with([&](Watches&) {
      for (const TaskRef& call : own.calls) static_cast<AsyncCall&>(*call).note_death();
    });
  }
  keep_free(std::move(bell_line));
}

}  // namespace

bool AsyncCall::want_notice() {
  check_process();
  LooseLine spare = take_async_line(hosted());  // without the other lock
  watches().with([&](Watches& watches) {
    if (std::exchange(watches.depth, fork_depth) != fork_depth) {
      for (auto& one : watches.all) static_cast<void>(one.release());  // the parent's
      watches.all.clear();
    }
    const auto at = std::ranges::find_if(
        watches.all, [&](const auto& one) { return one->bell_line->server == line_->server; });
    Watched* own = at == watches.all.end() ? nullptr : at->get();
    if (own == nullptr) {
      auto made = std::make_unique<Watched>();
      own = made.get();
      // With the lock: whoever finds it in the list has a thread to look after what is added.
      watches.all.push_back(std::move(made));
      own->bell_line = std::move(spare);
      try {
        start_own_thread([own] { watch(*own); }).detach();
      } catch (...) {
        spare = std::move(own->bell_line);
        watches.all.pop_back();
        throw;
      }
    }
    own->calls.emplace_back(*this);
    rings_at(own->bell_line->index);
  });
  if (spare) keep_free(std::move(spare));
  CallLine& line = *line_->line;
  while (true) {
    const LineWord now = line.now();
    if (is_over(stage())) {
      ring_bell();  // whoever watches finds it
      return true;
    }
    std::uint64_t before = now.bits();
    if (line.word.compare_exchange_strong(before, now.with(LineWord::observed).bits())) return true;
  }
}

TaskRef start_call(const Handle& hosted, HostedCode code, std::span<std::byte> message,
                   const OutgoingCargo& cargo, const std::type_info& function) {
  const HostedObject& object = HostedObject::of(hosted.object());
  if (Server::serves(object)) {
    throw std::logic_error("kin: inside of the manager's server calls are not asynchronous");
  }
  LooseLine line = take_async_line(object);
  try {
    send_request(*line, object, code, message, cargo, RequestHead::may_be_withdrawn);
  } catch (const QueueShutDown&) {
    complain_server_died(line->link->state());
  } catch (...) {
    keep_free(std::move(line));
    throw;
  }
  return TaskRef(*new AsyncCall(hosted, function, std::move(line)));
}

}  // namespace kin::detail
