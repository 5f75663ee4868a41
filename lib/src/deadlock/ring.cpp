// SPDX-License-Identifier: BSL-1.0
//
// The search for a ring. A thread waits for one thing, and a lock has one holder: so who waits for whom is
// a path without forks, and the search follows it until it ends or comes back to its begin. It takes no
// lock, and nobody waits for it.
//
// Why two equal rings are a deadlock. Say the first search ended at a moment T, before the second began. A
// wait that had the same number in both lasted all the time between its two readings, so at T; a holder
// that had taken the lock for the n-th time in both held it at T. Each of the ring's threads thus waited at
// T for what the next one held at T; each waits for ever; and none can give anything while it waits.

#include "deadlock/ring.hpp"

#include <algorithm>
#include <tuple>

namespace kin::detail {
namespace {

// What a thread waits for, if it is something that another thread has, and for ever.
std::optional<Edge> edge_of(const WaitRecord& record) {
  const auto wait = read_wait(record);
  if (!wait || !wait->has(WaitFlags::for_ever)) return std::nullopt;
  if (wait->kind == WaitKind::end_of_process) {
    // A process ends when its main thread returns.
    return Edge{*wait, {.process = wait->target, .thread = pid_of(wait->target)}};
  }
  if (!is_for_lock(*wait)) return std::nullopt;
  const auto holder = holder_of(lock_of(*wait));
  // As long as the wait is told, what it names exists: so it was a lock that was read.
  const auto now = read_wait(record);
  if (!holder || !now || now->sequence != wait->sequence) return std::nullopt;
  return Edge{*wait, *holder};
}

const WaitRecord* record_of(Stamp process, pid_t thread) {
  for (const WaitRecord& record : all_waits()) {
    if (record.process.load() != process || record.thread.load() != thread) continue;
    const auto wait = read_wait(record);
    if (wait && wait->process == process && wait->thread == thread) return &record;
  }
  return nullptr;
}

}  // namespace

Ring find_ring(const WaitRecord& first) {
  Ring ring;
  const WaitRecord* at = &first;
  while (true) {
    const auto edge = edge_of(*at);
    if (!edge) return {};
    ring.push_back(*edge);
    const Wait& begin = ring.front().wait;
    if (edge->holder.process == begin.process && edge->holder.thread == begin.thread) return ring;
    at = record_of(edge->holder.process, edge->holder.thread);
    if (at == nullptr) return {};
    // A path that runs into a ring which it is no part of: its members see to that.
    if (ring.size() >= all_waits().size()) return {};
  }
}

bool is_alive(const Ring& ring) {
  return std::ranges::none_of(ring, [](const Edge& edge) { return is_gone(edge.wait.process); });
}

std::size_t chosen_of(const Ring& ring) noexcept {
  const auto order = [](const Edge& edge) {
    return std::tuple(edge.wait.has(WaitFlags::may_throw), edge.wait.since, edge.wait.process,
                      edge.wait.thread);
  };
  const auto chosen = std::ranges::max_element(ring, {}, order);
  return static_cast<std::size_t>(chosen - ring.begin());
}

}  // namespace kin::detail
