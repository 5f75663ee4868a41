// SPDX-License-Identifier: BSL-1.0
//
// How long objects live: claims, cells, limbo.
//
// The truth is in the cells of the object. Each process keeps, in its slot, a list of the objects that
// it has cells in, so that the sweep need not look at all objects: an entry is written before a cell
// is taken and cleared after it is given up, so it may be stale, and the sweep acts on an entry only
// where it finds a cell with the dead's stamp. Cells are cleared under the sweep lock only; so who
// holds it and finds no cell knows that the object is over.

#include "memory/object.hpp"

#include "base/guarded.hpp"
#include "base/immortal.hpp"

#include <kin/log.hpp>

#include <cassert>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

namespace kin::detail {
namespace {

ProcessTable& table() { return *arena().processes; }
Graveyard& graveyard() { return table().graveyard; }

std::array<Destroyer, static_cast<std::size_t>(ObjectKind::count)> destroyers{};

// An object could not be destroyed. To be told where no lock is held: a log sink may do anything.
thread_local bool has_left_lock = false;

// This process's claims: the entries of its list that are free.
struct OwnClaims {
  std::vector<Owned<Object>*> free_entries;
  Owned<ClaimBlock>* next_block = nullptr;
  std::size_t blocks = 0;
};

Guarded<OwnClaims>& own_claims() {
  static Immortal<Guarded<OwnClaims>> claims;
  return *claims;
}

[[maybe_unused]] const bool own_claims_are_made = made_at_load(own_claims);

// Where nothing but objects ever will lie: for the sake of locks that are part of them, and of who knows
// one only by its address, as the claims and the cargo of a dead process do, and asks its cells.
BlockKind block_kind_of(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::channel: return BlockKind::channel;
    case ObjectKind::pool: return BlockKind::pool;
    case ObjectKind::manager: return BlockKind::manager;
    default: return BlockKind::lock;
  }
}

ProcessSlot& own_slot() { return table().slots[(this_process() & 0xffffffff) >> 1]; }

Owned<Object>& take_entry(OwnClaims& own) {
  if (own.free_entries.empty()) {
    if (own.next_block == nullptr) own.next_block = &own_slot().claims;
    // For all that there will be: ~Claim() gives entries back.
    own.free_entries.reserve((own.blocks + 1) * ClaimBlock::size);
    Heap::allocate_into(*own.next_block, sizeof(ClaimBlock));
    ++own.blocks;
    ClaimBlock& block = **own.next_block;
    own.next_block = &block.next;
    for (auto& entry : block.entries) own.free_entries.push_back(&entry);
  }
  Owned<Object>& entry = *own.free_entries.back();
  own.free_entries.pop_back();
  return entry;
}

template <typename Visit>
bool any_cell(Object& object, Visit&& visit) {
  for (auto& cell : object.cells) {
    if (visit(cell)) return true;
  }
  for (CellBlock* block = object.more_cells.get(); block != nullptr; block = block->next.get()) {
    for (auto& cell : block->cells) {
      if (visit(cell)) return true;
    }
  }
  return false;
}

bool in_use(Object& object) {
  return any_cell(object, [](const std::atomic<Stamp>& cell) { return cell.load() != 0; });
}

// All below runs with the sweep lock held.

void enter_limbo(Object& object) {
  Graveyard& yard = graveyard();
  object.released.store(table().births.load());
  if (object.in_limbo.load() != 0 && yard.entering.load() != &object) return;
  yard.entering.store(&object);
  // If killed from here on: recover_graveyard() does it again.
  object.in_limbo.store(1);
  if (yard.limbo.load() != &object) {
    object.next_in_limbo.store(yard.limbo.load());
    yard.limbo.store(&object);
  }
  yard.entering.store(nullptr);
}

void leave_limbo(const Object& object) {
  std::atomic<Object*>* link = &graveyard().limbo;
  while (link->load() != nullptr && link->load() != &object) link = &link->load()->next_in_limbo;
  if (link->load() == &object) link->store(object.next_in_limbo.load());
}

// Ends the object that `retiring` names; again, after a death in the middle.
void finish_retiring() {
  Owned<Object>& retiring = graveyard().retiring;
  Object& object = *retiring;
  leave_limbo(object);
  const Destroyer destroy = destroyers[static_cast<std::size_t>(object.kind)];
  if (destroy != nullptr && !destroy(object)) {
    retiring.name(nullptr);
    has_left_lock = true;
    return;
  }
  Heap::free_chain(object.more_cells);
  Heap::free_from(retiring);
}

void retire(Object& object) {
  graveyard().retiring.name(&object);
  // If killed from here on: recover_graveyard() completes it.
  finish_retiring();
}

bool over(Object& object) {
  return !in_use(object) && !heir_lives(object.made.load(), object.released.load());
}

void finish_leaving() {
  Graveyard& yard = graveyard();
  Object& object = *yard.leaving.load();
  Stamp stamp = yard.leaving_stamp.load();
  yard.leaving_cell.load()->compare_exchange_strong(stamp, 0);
  Owned<Object>& entry = *yard.leaving_entry.load();
  if (entry.get() == &object) entry.name(nullptr);
  if (!in_use(object)) enter_limbo(object);
  yard.leaving.store(nullptr);
}

// Gives up one cell and the entry that goes with it.
void leave(Object& object, Stamp stamp, Owned<Object>& entry, std::atomic<Stamp>& cell) {
  Graveyard& yard = graveyard();
  yard.leaving_stamp.store(stamp);
  yard.leaving_cell.store(&cell);
  yard.leaving_entry.store(&entry);
  yard.leaving.store(&object);
  // If killed from here on: recover_graveyard() completes it, so that the object is in limbo before
  // the entry that would remember it is gone, and nothing is freed before that.
  finish_leaving();
}

// What the process `holder` has a claim on at that address.
Object* find_claimed(Stamp holder, std::uint64_t address) {
  const std::size_t slot = (holder & 0xffffffff) >> 1;
  if (slot >= ProcessTable::most || pid_of(holder) == 0) return nullptr;
  ClaimBlock* block = table().slots[slot].claims.get();
  for (; block != nullptr; block = block->next.get()) {
    for (auto& entry : block->entries) {
      Object* object = entry.get();
      if (object == nullptr || reinterpret_cast<std::uintptr_t>(object) != address) continue;
      const auto is_its = [&](const std::atomic<Stamp>& cell) { return cell.load() == holder; };
      if (any_cell(*object, is_its)) return object;
    }
  }
  return nullptr;
}

// Gives up every cell that holds `stamp`; false when there was none. Whoever remembers an object only
// by its address may do this: where the object is another by now, no cell has this stamp.
bool leave_all_cells(Object& object, Stamp stamp, Owned<Object>& entry) {
  bool found = false;
  while (any_cell(object, [&](std::atomic<Stamp>& cell) {
    if (cell.load() != stamp) return false;
    leave(object, stamp, entry, cell);
    return true;
  })) {
    found = true;
  }
  return found;
}

void drop_claim_of_dead(Owned<Object>& entry, Stamp stamp) {
  if (Object* object = entry.get(); object != nullptr) leave_all_cells(*object, stamp, entry);
  entry.name(nullptr);
}

}  // namespace

void tell_of_left_locks() noexcept {
  if (!std::exchange(has_left_lock, false)) return;
  log(LogLevel::warning, "the last handle of a lock was dropped while a thread holds it");
}

Claim::~Claim() {
  if (cell_ == nullptr) return;  // it came to nothing
  // A child's copy has the child's copy of it.
  UniqueFd(descriptor.load()).reset();
  if (owner_ != this_process_or_none()) return;  // a child's copy of its parent's claim
  {
    const SweepGuard guard;
    leave(*object_, owner_, *entry_, *cell_);
    if (object_->in_limbo.load() != 0 && over(*object_)) {
      retire(*object_);
      if (graveyard().limbo.load() != nullptr) visit_limbo(guard);
    }
  }
  own_claims().with([&](OwnClaims& own) {
    // take_entry() reserved the room for it.
    if (owner_ == this_process_or_none()) own.free_entries.push_back(entry_);
  });
  tell_of_left_locks();
}

std::shared_ptr<Claim> make_object(ObjectKind kind, std::size_t size,
                                   FunctionRef<void(Object&)> initialize) {
  const Stamp own_stamp = this_process();
  const BlockKind block_kind = block_kind_of(kind);
  // The lock is held over every fork: no child is born between `made` and the handle.
  return own_claims().with([&](OwnClaims& own) {
    Owned<Object>& entry = take_entry(own);
    Owned<Object>& newborn = own_slot().newborn;
    try {
      Heap::allocate_into(newborn, size, block_kind);
      // If killed from here on: the sweep finds it by `newborn`, with the parts that it has by then.
      Object& object = *newborn;
      object.kind = kind;
      object.made.store(table().births.load());
      object.cells[0].store(own_stamp);
      initialize(object);
      auto claim = std::make_shared<Claim>(object, own_stamp, entry);
      claim->hold(object.cells[0]);
      entry.name(&object);
      newborn.name(nullptr);
      return claim;
    } catch (...) {
      if (newborn) {
        const SweepGuard guard;
        leave(*newborn, own_stamp, newborn, newborn->cells[0]);
        visit_limbo(guard);
      }
      own.free_entries.push_back(&entry);
      throw;
    }
  });
}

namespace {

// Of an object that is kept alive meanwhile.
std::shared_ptr<Claim> claim_in(OwnClaims& own, Owned<Object>& entry, Object& object) {
  const Stamp own_stamp = this_process();
  entry.name(&object);
  try {
    auto claim = std::make_shared<Claim>(object, own_stamp, entry);
    // If killed behind this: the sweep finds the cell by the entry.
    claim->hold(take_cell(object, own_stamp));
    return claim;
  } catch (...) {
    entry.name(nullptr);
    own.free_entries.push_back(&entry);
    throw;
  }
}

}  // namespace

std::shared_ptr<Claim> claim(Object& object) {
  static_cast<void>(this_process());
  return own_claims().with([&](OwnClaims& own) { return claim_in(own, take_entry(own), object); });
}

std::shared_ptr<Claim> claim_unless_swept(Object& object, Stamp keeper) {
  static_cast<void>(this_process());
  return own_claims().with([&](OwnClaims& own) {
    Owned<Object>& entry = take_entry(own);
    const SweepGuard guard;
    if (!was_swept(keeper, guard)) return claim_in(own, entry, object);
    own.free_entries.push_back(&entry);
    return std::shared_ptr<Claim>();
  });
}

std::shared_ptr<Claim> claim_of(Stamp holder, std::uint64_t address) {
  static_cast<void>(this_process());
  return own_claims().with([&](OwnClaims& own) {
    Owned<Object>& entry = take_entry(own);
    // While this is held that process gives up nothing, and is not swept.
    const SweepGuard guard;
    if (Object* object = find_claimed(holder, address)) return claim_in(own, entry, *object);
    own.free_entries.push_back(&entry);
    return std::shared_ptr<Claim>();
  });
}

std::atomic<Stamp>& take_cell(Object& object, Stamp stamp) {
  std::atomic<Stamp>* taken = nullptr;
  const auto take = [&](std::atomic<Stamp>& cell) {
    Stamp none = 0;
    if (!cell.compare_exchange_strong(none, stamp)) return false;
    taken = &cell;
    return true;
  };
  while (!any_cell(object, take)) {
    Owned<CellBlock>* end = &object.more_cells;
    while (*end) end = &(*end)->next;
    // Where two add a block at once, the second finds the place filled and is given that block.
    Heap::allocate_into(*end, sizeof(CellBlock));
  }
  return *taken;
}

void drop_cells(Object& object, Stamp stamp, const SweepGuard& guard) {
  if (!drop_cells_while_destroying(object, stamp)) return;
  if (over(object)) {
    retire(object);
    visit_limbo(guard);
  }
}

bool drop_cells_while_destroying(Object& object, Stamp stamp) {
  return leave_all_cells(object, stamp, graveyard().no_entry);
}

void visit_limbo(const SweepGuard& /*guard*/) {
  for (bool again = true; again;) {
    again = false;
    Object* next = nullptr;
    for (Object* object = graveyard().limbo.load(); object != nullptr; object = next) {
      next = object->next_in_limbo.load();
      if (!over(*object)) continue;
      retire(*object);
      // It may have sent others to limbo, in front of those that were seen already.
      again = true;
    }
  }
}

void drop_claims_of(ProcessSlot& dead, Stamp stamp, const SweepGuard& /*guard*/) {
  if (Object* newborn = dead.newborn.get(); newborn != nullptr) {
    if (newborn->cells[0].load() == 0) {
      // It had not even been dated. Nobody can have inherited it.
      newborn->made.store(table().births.load());
      newborn->cells[0].store(stamp);
    }
    drop_claim_of_dead(dead.newborn, stamp);
  }
  for (ClaimBlock* block = dead.claims.get(); block != nullptr; block = block->next.get()) {
    for (auto& entry : block->entries) drop_claim_of_dead(entry, stamp);
  }
  Heap::free_chain(dead.claims);
}

void recover_graveyard() {
  const Graveyard& yard = graveyard();
  Heap::recover();
  if (Object* entering = yard.entering.load(); entering != nullptr) enter_limbo(*entering);
  if (yard.leaving.load() != nullptr) finish_leaving();
  if (yard.retiring) finish_retiring();
}

void set_destroyer(ObjectKind kind, Destroyer destroyer) noexcept {
  destroyers[static_cast<std::size_t>(kind)] = destroyer;
}

void forget_claims_of_parent() noexcept {
  // The fork handlers hold no claim lock any more; the child has this one thread.
  own_claims().with([](OwnClaims& own) {
    own.free_entries.clear();
    own.next_block = nullptr;
    own.blocks = 0;
  });
}

Object& Handle::checked_object() const {
  if (claim_->closed.load(std::memory_order_relaxed)) {
    throw std::logic_error("kin: used after close() in this process");
  }
  return claim_->object();
}

Object& Handle::object_even_closed() const {
  if (!claim_) complain_moved_from();
  return claim_->object();
}

Claim& Handle::claim() const {
  if (!claim_) complain_moved_from();
  return *claim_;
}

void Handle::close() const {
  if (!claim_) complain_moved_from();
  claim_->closed.store(true);
}

bool Handle::is_closed() const {
  if (!claim_) complain_moved_from();
  return claim_->closed.load(std::memory_order_relaxed);
}

const Object* Handle::identity() const noexcept { return claim_ ? &claim_->object() : nullptr; }

void Handle::complain_moved_from() { throw std::logic_error("kin: used after it was moved from"); }

}  // namespace kin::detail
