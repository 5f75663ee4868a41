// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "waiting/robust_lock.hpp"

#include <kin/unique_fd.hpp>

#include <atomic>
#include <cstdint>

namespace kin::detail {

/// The family descriptor's part of the arena's front.
/// Writers: whoever holds the lock.
struct FamilyDescriptorState {
  RobustLock lock;
  std::atomic<std::uint64_t> id;  // of what is stored; 0: nothing yet
  // While it is replaced: what was, and what is to be. The one that is not `id` is discarded in the end.
  std::atomic<std::uint64_t> before;
  std::atomic<std::uint64_t> next;

  void initialize() noexcept { lock.initialize(); }
};

/// One descriptor that all kin have, whoever of them opened it, and whenever: it is open until the last of the
/// family has ended. It lies in the descriptor store.
///
/// Sharing: process-safe and thread-safe; not for signal handlers.
/// If a process dies: in replace(), the one before stays, or the next one counts.
class FamilyDescriptor {
 public:
  /// Of the one that there is; 0 if there is none. Another has another id.
  [[nodiscard]] static std::uint64_t id() noexcept;
  /// A duplicate, close-on-exec. Throws what DescriptorStore::fetch() throws.
  [[nodiscard]] static UniqueFd fetch(std::uint64_t id);
  /// Puts what `make()` returns in the place of `known`, and returns its id; 0, and nothing is made, if another
  /// process came before. Throws SystemError where it can't be stored, and what make() throws.
  static std::uint64_t replace(std::uint64_t known, FunctionRef<int()> make);
};

}  // namespace kin::detail
