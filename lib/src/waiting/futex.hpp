// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>

#include <atomic>
#include <cstdint>

namespace kin::detail {

/// A word in shared memory that threads of any kin sleep on.
/// (Not std::atomic::wait: libstdc++ makes that private to a process.)
using FutexWord = std::atomic<std::uint32_t>;
static_assert(FutexWord::is_always_lock_free && sizeof(FutexWord) == 4);

/// Nobody sleeps longer than this without looking again: a waiter that was woken may be killed
/// before it acts, and nobody is told.
inline constexpr std::int64_t slice_nanoseconds = 250'000'000;

/// Sleeps while `word` holds `expected`, until woken, until a signal, until the deadline, and for one
/// slice at most. True when woken.
bool futex_wait_slice(const FutexWord& word, std::uint32_t expected, Deadline deadline) noexcept;

/// Wakes at most `count` sleepers; returns how many there were.
int futex_wake(FutexWord& word, int count) noexcept;

}  // namespace kin::detail
