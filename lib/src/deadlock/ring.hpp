// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "deadlock/lock_object.hpp"
#include "memory/wait_table.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace kin::detail {

/// A thread that waits, for ever, for something that only another thread can give.
struct Edge {
  Wait wait;
  Holder holder;  // of a lock; of a process that is joined its main thread

  /// Whether nothing has changed from one to the other.
  friend bool operator==(const Edge& left, const Edge& right) noexcept {
    return left.wait.process == right.wait.process && left.wait.thread == right.wait.thread &&
           left.wait.sequence == right.wait.sequence && left.wait.since == right.wait.since &&
           left.wait.target == right.wait.target && left.holder == right.holder;
  }
};

/// Threads of which each waits for the next, and the last for the first.
using Ring = std::vector<Edge>;

/// The ring that begins with the thread that has this record; empty when it is in none.
///
/// What is found is no proof: other threads go on meanwhile. But two rings that are equal, of which the
/// one was found before the search for the other began, are: between the two searches all of them
/// waited for one another at the same time, and nobody else can help.
Ring find_ring(const WaitRecord& first);

/// Whether the processes of all of its members live. A stopped one does.
bool is_alive(const Ring& ring);

/// Which member is to give up: the one that has waited for the shortest time, of those that may. The same
/// for whoever asks.
std::size_t chosen_of(const Ring& ring) noexcept;

/// What this lock is in a wait's `target`, and back.
inline std::uint64_t target_of(const Object& object) noexcept {
  return reinterpret_cast<std::uint64_t>(&object);
}
inline const LockObject& lock_of(const Wait& wait) noexcept {
  return *reinterpret_cast<const LockObject*>(wait.target);
}
inline bool is_for_lock(const Wait& wait) noexcept {
  return wait.kind == WaitKind::lock || wait.kind == WaitKind::lock_again;
}

}  // namespace kin::detail
