// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "memory/object.hpp"

#include <kin/detail/cargo.hpp>

#include <atomic>
#include <cstdint>
#include <span>

namespace kin::detail {

/// The handles and descriptors that travel with one record of a channel. While it is on its way, each
/// object has a cell stamped with the cargo's address, so it lives on when its sender is gone; the
/// descriptors are in the descriptor store.
struct Cargo {
  std::uint32_t position;  // of the record, in its ring's units: tells whether it was put, or taken
  std::atomic<std::uint32_t> count;        // of the objects, whose addresses stand behind this
  std::atomic<std::uint64_t> descriptors;  // what they are stored by; 0: there are none

  [[nodiscard]] std::span<Object*> objects() noexcept {
    return {reinterpret_cast<Object**>(this + 1), count.load()};
  }
  /// Each address before it is counted: so a death leaves none that is not one.
  void add(Object& object) noexcept {
    const std::uint32_t index = count.load();
    reinterpret_cast<Object**>(this + 1)[index] = &object;
    count.store(index + 1);
  }
  [[nodiscard]] Stamp stamp() const noexcept { return reinterpret_cast<Stamp>(this) | 2; }
};
static_assert(sizeof(Cargo) <= Heap::front_of_run);  // so zero from the first, and safe to unload

/// The descriptor store has no room: let go of all locks, wait a little, and try again.
struct NoRoomForDescriptors {};

/// Puts what is to go with a message into `place`, with a cell in each object. If killed in the middle, or
/// when it throws, unload() of the place undoes it. Throws std::bad_alloc, SystemError, NoRoomForDescriptors.
void load_cargo(Owned<Cargo>& place, const OutgoingCargo& outgoing, std::uint32_t position);

/// The same for what goes through no channel, so that there is no lock to let go of: no room is a SystemError.
void load_cargo_once(Owned<Cargo>& place, const OutgoingCargo& outgoing);

/// Gives up the cells that the cargo in `place` has and frees it. If killed in the middle: again.
void unload_cargo(Owned<Cargo>& place);
/// The same, inside the sweep, for a channel that is being destroyed with records in it.
void unload_cargo_while_destroying(Owned<Cargo>& place);

/// This process's claims on what the cargo carries, and its own copies of the descriptors. Throws
/// SystemError when it can't open them.
void claim_cargo(Cargo& cargo, IncomingCargo& incoming);

}  // namespace kin::detail
