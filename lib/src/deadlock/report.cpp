// SPDX-License-Identifier: BSL-1.0
//
// What people read of a deadlock. Written once it is certain, by the one who gives up; the members stand
// still meanwhile, so there is time.

#include "deadlock/report.hpp"

#include "deadlock/place.hpp"

#include "base/thread_id.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace kin::detail {
namespace {

constexpr std::size_t most_members = 32;
constexpr std::size_t most_others = 8;

constexpr std::array<std::string_view, 12> names_of_kinds = {"nothing",
                                                             "a lock",
                                                             "a lock",
                                                             "the end of a process",
                                                             "a message",
                                                             "room for a message",
                                                             "all tasks of a queue",
                                                             "a permit of a semaphore",
                                                             "an event",
                                                             "a notification of a condition",
                                                             "the other parties of a barrier",
                                                             "a task's result"};

// " at bank.cpp:12, in move()", or " through std::scoped_lock".
std::string at(const std::string& place) {
  if (place.empty()) return "";
  return (place.starts_with("through ") ? " " : " at ") + place;
}

std::vector<DeadlockMember> members_of(const Ring& ring) {
  std::vector<DeadlockMember> members;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const Edge& edge = ring[i];
    const Edge& before = ring[i == 0 ? ring.size() - 1 : i - 1];
    DeadlockMember& one = members.emplace_back();
    one.process_name = name_of(edge.wait.process);
    one.pid = pid_of(edge.wait.process);
    one.thread = edge.wait.thread;
    one.waits_for = target_text(edge.wait);
    one.waits_at = place_text(edge.wait.where, edge.wait.process);
    if (is_for_lock(before.wait)) {
      one.taken_at = place_text(before.holder.where, edge.wait.process);
    }
  }
  return members;
}

std::string text_of_member(const Ring& ring, const std::vector<DeadlockMember>& members,
                           std::size_t i) {
  const std::size_t before = i == 0 ? ring.size() - 1 : i - 1;
  const DeadlockMember& one = members[i];
  const std::string held =
      is_for_lock(ring[before].wait)
          ? "took " + members[before].waits_for + at(one.taken_at)
          : "has to end, as " + members[before].process_name + " waits for that";
  const std::string again =
      ring[i].wait.kind == WaitKind::lock_again ? ", which it gave back for the wait" : "";
  return "\n  " + thread_text(ring[i].wait.process, one.thread) + (i == 0 ? ", this thread" : "") +
         "\n    " + held + "\n    and waits for " + one.waits_for + at(one.waits_at) + again;
}

// Who else waits, those of the ring's own processes first.
std::string text_of_others(const Ring& ring) {
  std::vector<Wait> others;
  const auto is_of_ring = [&](Stamp process) {
    return std::ranges::any_of(ring,
                               [=](const Edge& edge) { return edge.wait.process == process; });
  };
  for (const WaitRecord& record : all_waits()) {
    const auto wait = read_wait(record);
    if (!wait || std::ranges::any_of(ring, [&](const Edge& edge) {
          return edge.wait.process == wait->process && edge.wait.thread == wait->thread;
        })) {
      continue;
    }
    others.push_back(*wait);
  }
  std::ranges::stable_partition(others, [&](const Wait& one) { return is_of_ring(one.process); });
  std::string text = others.empty() ? "" : "\nAround them";
  for (std::size_t i = 0; i < std::min(others.size(), most_others); ++i) {
    text += "\n  " + thread_text(others[i].process, others[i].thread) + " waits for " +
            target_text(others[i]) + at(place_text(others[i].where, others[i].process));
  }
  if (others.size() > most_others) {
    text += "\n  and " + std::to_string(others.size() - most_others) + " more wait";
  }
  return text;
}

std::string text_of(const Ring& ring, const std::vector<DeadlockMember>& members) {
  std::string text =
      ring.size() == 1
          ? std::string("deadlock: this thread waits for a lock that it holds itself")
          : "deadlock: " + std::to_string(ring.size()) + " threads wait for one another for ever";
  for (std::size_t i = 0; i < std::min(members.size(), most_members); ++i) {
    text += text_of_member(ring, members, i);
  }
  if (members.size() > most_members) {
    text += "\n  and " + std::to_string(members.size() - most_members) + " more";
  }
  text += text_of_others(ring);
  return text + (ring.size() == 1 ? "\nTake it once, or make it a kin::RLock."
                                  : "\nTake locks in one order everywhere, or all at once: "
                                    "std::scoped_lock both(a, b).");
}

}  // namespace

std::string process_text(Stamp process) {
  const std::string name = name_of(process);
  return (name.empty() ? "a process" : name) + " (pid " + std::to_string(pid_of(process)) + ")";
}

std::string thread_text(Stamp process, pid_t thread) {
  const pid_t pid = pid_of(process);
  if (thread == pid) return process_text(process);
  const std::string name = name_of(process);
  return (name.empty() ? "a process" : name) + " (pid " + std::to_string(pid) + ", thread " +
         std::to_string(thread) + ")";
}

std::string target_text(const Wait& wait) {
  if (is_for_lock(wait)) return name_of(lock_of(wait));
  if (wait.kind == WaitKind::end_of_process) return "the end of " + process_text(wait.target);
  return std::string(names_of_kinds.at(static_cast<std::size_t>(wait.kind)));
}

std::string deadlock_text(const Ring& ring) { return text_of(ring, members_of(ring)); }

DeadlockError deadlock_error(const Ring& ring) {
  std::vector<DeadlockMember> members = members_of(ring);
  const std::string text = text_of(ring, members);
  return {text, std::move(members)};
}

std::string lock_text(const LockObject& lock) {
  const auto holder = holder_of(lock);
  if (!holder) return name_of(lock);
  const std::string place = place_text(holder->where, holder->process);
  return name_of(lock) + ", held by " + thread_text(holder->process, holder->thread) +
         (place.empty() ? "" : ", which took it" + at(place));
}

}  // namespace kin::detail
