// SPDX-License-Identifier: BSL-1.0
//
// What others read of a lock. They may come too late, when its memory is another lock's by now: all that
// they read is in memory that stays, and bounded, and whoever draws conclusions looks twice.

#include "deadlock/lock_object.hpp"

#include <algorithm>

namespace kin::detail {

void LockObject::set_name(std::string_view text) noexcept {
  const std::size_t length = std::min(text.size(), name_size - 1);
  for (std::size_t i = 0; i < length; ++i) name[i].store(text[i], std::memory_order_relaxed);
}

std::optional<Holder> holder_of(const LockObject& lock) noexcept {
  const Holder holder{.process = lock.holder_process.load(),
                      .thread = lock.holder_thread.load(),
                      .taken = lock.taken.load(),
                      .where = lock.where.load()};
  // The notes of a thread that died stay. Where one has taken the lock and not noted that yet, or the
  // notes of the one before it are still there, the lock's own word has another number.
  const bool is_true =
      holder.process != 0 && holder.thread != 0 && lock.lock.holder_thread() == holder.thread;
  return is_true ? std::optional(holder) : std::nullopt;
}

std::string name_of(const LockObject& lock) {
  std::string name;
  for (const auto& letter : lock.name) {
    const char one = letter.load(std::memory_order_relaxed);
    if (one == '\0') break;
    name += one;
  }
  if (name.empty()) return "lock #" + std::to_string(lock.number.load());
  return "lock \"" + name + '"';
}

}  // namespace kin::detail
