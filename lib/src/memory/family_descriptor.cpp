// SPDX-License-Identifier: BSL-1.0
//
// Runs in any process and thread.

#include "memory/family_descriptor.hpp"

#include "memory/arena.hpp"
#include "memory/descriptor_store.hpp"

#include <kin/error.hpp>

#include <cerrno>
#include <span>

namespace kin::detail {
namespace {

FamilyDescriptorState& state() noexcept { return *arena().family_descriptor; }

// With the lock held; again, from wherever it was killed.
void settle(FamilyDescriptorState& state) noexcept {
  const std::uint64_t id = state.id.load();
  for (std::atomic<std::uint64_t>* one : {&state.before, &state.next}) {
    if (one->load() != 0 && one->load() != id) DescriptorStore::discard(one->load());
    // If killed before this: it is discarded again, which does no harm.
    one->store(0);
  }
}

}  // namespace

std::uint64_t FamilyDescriptor::id() noexcept { return state().id.load(); }

UniqueFd FamilyDescriptor::fetch(std::uint64_t id) {
  return std::move(DescriptorStore::fetch(id).front());
}

std::uint64_t FamilyDescriptor::replace(std::uint64_t known, FunctionRef<int()> make) {
  FamilyDescriptorState& shared = state();
  const RobustGuard guard(shared.lock, [&] { settle(shared); });
  if (shared.id.load() != known) return 0;
  const int made = make();
  const std::uint64_t id = DescriptorStore::new_id();
  shared.before.store(known);
  shared.next.store(id);
  try {
    // If killed behind it: it is discarded by whoever comes next.
    if (!DescriptorStore::store(id, std::span(&made, 1))) throw SystemError("sendmsg", ENOBUFS);
  } catch (...) {
    settle(shared);
    throw;
  }
  shared.id.store(id);
  // If killed here: the one before is discarded by whoever comes next.
  settle(shared);
  return id;
}

}  // namespace kin::detail
