// SPDX-License-Identifier: BSL-1.0
//
// Handles on their way through a channel. Runs in the sender under the tail lock, in the receiver under
// the head lock, and in whoever recovers either.

#include "channel/cargo.hpp"

#include "memory/descriptor_store.hpp"

#include <kin/error.hpp>

#include <cerrno>

namespace kin::detail {

void load_cargo(Owned<Cargo>& place, const OutgoingCargo& outgoing, std::uint32_t position) {
  const std::size_t size = sizeof(Cargo) + outgoing.handles.size() * sizeof(Object*);
  std::byte* block = Heap::allocate_into(place, size);
  // If killed here, or when this throws: unloading finds neither objects nor descriptors.
  if (Heap::is_run(size)) populate(block, size);
  Cargo& cargo = *place;
  cargo.position = position;
  for (const Handle& handle : outgoing.handles) {
    Object& object = handle.object_even_closed();
    cargo.add(object);
    // If killed here: unloading looks for a cell with this stamp and finds none.
    take_cell(object, cargo.stamp());
  }
  if (outgoing.descriptors.empty()) return;
  const std::uint64_t id = DescriptorStore::new_id();
  cargo.descriptors.store(id);
  // If killed here: unloading discards what was not stored.
  if (!DescriptorStore::store(id, outgoing.descriptors)) throw NoRoomForDescriptors();
}

void load_cargo_once(Owned<Cargo>& place, const OutgoingCargo& outgoing) {
  try {
    load_cargo(place, outgoing, 0);
  } catch (const NoRoomForDescriptors&) {
    throw SystemError("kin: no room among the descriptors on their way", ENOSPC);
  }
}

namespace {

void discard_descriptors(const Cargo& cargo) {
  const std::uint64_t id = cargo.descriptors.load();
  if (id != 0) DescriptorStore::discard(id);
}

}  // namespace

void unload_cargo(Owned<Cargo>& place) {
  Cargo* cargo = place.get();
  if (cargo == nullptr) return;
  discard_descriptors(*cargo);
  {
    const SweepGuard guard;
    for (Object* object : cargo->objects()) drop_cells(*object, cargo->stamp(), guard);
  }
  Heap::free_from(place);
}

void unload_cargo_while_destroying(Owned<Cargo>& place) {
  Cargo* cargo = place.get();
  if (cargo == nullptr) return;
  discard_descriptors(*cargo);
  for (Object* object : cargo->objects()) drop_cells_while_destroying(*object, cargo->stamp());
  Heap::free_from(place);
}

void claim_cargo(Cargo& cargo, IncomingCargo& incoming) {
  incoming.handles.reserve(cargo.objects().size());
  for (Object* object : cargo.objects()) incoming.handles.emplace_back(claim(*object));
  const std::uint64_t id = cargo.descriptors.load();
  if (id != 0) incoming.descriptors = DescriptorStore::fetch(id);
}

}  // namespace kin::detail
