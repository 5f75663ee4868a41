// SPDX-License-Identifier: BSL-1.0
//
// The lines that the threads of a process have to managers' servers. A thread takes a line at its first
// call and keeps it until it ends; a call that is made while another's answer is read takes a second one.

#include "manager/link.hpp"

#include "base/fork_depth.hpp"
#include "base/guarded.hpp"
#include "base/immortal.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace kin::detail {
namespace {

using ServerLinks = std::vector<std::weak_ptr<ServerLink>>;

Guarded<ServerLinks>& links() {
  static Immortal<Guarded<ServerLinks>> all;
  return *all;
}
[[maybe_unused]] const bool links_are_made = made_at_load(links);

class ThreadLines {
 public:
  ThreadLines() = default;
  ThreadLines(const ThreadLines&) = delete;
  ThreadLines& operator=(const ThreadLines&) = delete;
  ~ThreadLines() {
    clear();
    is_over = true;
  }

  ThreadLine& take(const HostedObject& hosted) {
    if (fork_depth_ != fork_depth) clear();
    const auto found = std::ranges::find_if(
        lines_, [&](const auto& one) { return one->server == hosted.server && !one->is_busy; });
    return found != lines_.end() ? **found : add(hosted);
  }
  void erase(const ThreadLine& line) noexcept {
    std::erase_if(lines_, [&](const auto& one) { return one.get() == &line; });
  }
  void erase(Stamp server) noexcept {
    for (const auto& one : lines_) {
      if (one->server == server) set_free(*one);
    }
    std::erase_if(lines_, [&](const auto& one) { return one->server == server; });
  }

  /// Whether this thread's objects are destroyed: in static destructors, and at exit.
  [[gnu::tls_model("initial-exec")]] static inline thread_local bool is_over = false;

 private:
  ThreadLine& add(const HostedObject& hosted) {
    // They keep what the dead shared with us.
    std::erase_if(lines_, [&](const auto& one) {
      return one->server != hosted.server && !one->is_busy && is_gone(one->server);
    });
    auto line = make_line(hosted);
    lines_.reserve(lines_.size() + 1);
    lines_.push_back(std::move(line));
    return *lines_.back();
  }
  // A line with a call on it is left to the server, which sees our end.
  void set_free(const ThreadLine& one) const noexcept {
    if (fork_depth_ != fork_depth || one.is_busy) return;  // or the parent's
    if (one.line->now().state() != CallState::idle) return;
    // If killed before this: the server sees whose it was.
    one.line->owner.store(0);
  }
  void clear() noexcept {
    for (const auto& one : lines_) set_free(*one);
    lines_.clear();
    fork_depth_ = fork_depth;
  }

  std::vector<std::unique_ptr<ThreadLine>> lines_;
  int fork_depth_ = fork_depth;
};

thread_local ThreadLines thread_lines;

// The one that was used last, and in which process.
[[gnu::tls_model("initial-exec")]] thread_local ThreadLine* last_line = nullptr;
[[gnu::tls_model("initial-exec")]] thread_local int last_depth = 0;

}  // namespace

std::shared_ptr<ServerLink> link_to(const HostedObject& hosted) {
  auto link = links().with([&](ServerLinks& all) {
    std::erase_if(all, [](const auto& one) { return one.expired(); });
    for (const auto& one : all) {
      if (auto alive = one.lock(); alive && alive->server == hosted.server) return alive;
    }
    return std::shared_ptr<ServerLink>();
  });
  if (link) return link;
  // The claims take a lock of this process's, so not inside of the other. Where two threads are here at
  // once, each has a link.
  link = std::make_shared<ServerLink>();
  link->server = hosted.server;
  link->state_claim = claim_unless_swept(*hosted.manager, hosted.server);
  if (link->state_claim) {
    link->requests_claim = claim_unless_swept(*link->state().requests, hosted.server);
  }
  if (!link->requests_claim) {
    throw ManagerDied("the manager's server is dead, and what it held is gone");
  }
  links().with([&](ServerLinks& all) { all.push_back(link); });
  return link;
}

std::unique_ptr<ThreadLine> make_line(const HostedObject& hosted, std::uint32_t most) {
  auto line = std::make_unique<ThreadLine>();
  line->server = hosted.server;
  line->link = link_to(hosted);
  ManagerState& state = line->link->state();
  line->index = take_line(state, most);
  line->line = &state.line(line->index);
  // Goes on behind the calls of whoever had it before: what comes late for these fits none of ours.
  line->sequence = line->line->now().sequence();
  return line;
}

void forget_link(Stamp server) noexcept {
  if (last_line != nullptr && last_line->server == server) last_line = nullptr;
  if (!ThreadLines::is_over) thread_lines.erase(server);
}

ThreadLine& take_thread_line(const HostedObject& hosted) {
  if (last_line != nullptr && last_line->server == hosted.server && !last_line->is_busy &&
      last_depth == fork_depth) [[likely]] {
    last_line->is_busy = true;
    return *last_line;
  }
  if (ThreadLines::is_over)
    throw std::logic_error("kin: a manager's proxy used at the end of its thread");
  last_line = nullptr;
  ThreadLine& line = thread_lines.take(hosted);
  last_line = &line;
  last_depth = fork_depth;
  line.is_busy = true;
  return line;
}

void give_back(ThreadLine& line) noexcept { line.is_busy = false; }

void drop(ThreadLine& line) noexcept {
  if (last_line == &line) last_line = nullptr;
  if (!ThreadLines::is_over) thread_lines.erase(line);
}

void complain_server_died(const ManagerState& manager) {
  const std::string pid = std::to_string(manager.pid.load());
  if (manager.phase.load() == ManagerState::ended) {
    throw ManagerDied("the manager was shut down (its server was process " + pid + ")");
  }
  if (manager.phase.load() == ManagerState::lost) throw ManagerDied(manager.why());
  throw ManagerDied("the manager's server (process " + pid + ") died");
}

}  // namespace kin::detail
