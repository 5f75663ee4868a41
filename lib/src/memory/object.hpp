// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "memory/process_table.hpp"

#include <kin/detail/handle.hpp>
#include <kin/unique_fd.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace kin::detail {

/// More cells of an object; see Object::cells.
struct CellBlock {
  Owned<CellBlock> next;
  std::array<std::atomic<Stamp>, 31> cells;
};

/// What every object that handles name begins with: who uses it, and so how long it lives.
///
/// An object lives while one of its cells holds a stamp: of a process that made or received it, or of
/// a cargo (see cargo.hpp) on its way through a channel. A process that merely inherited a handle by
/// fork has no cell; for its sake an object without cells stays in limbo while a process lives that
/// was forked between the object's making and its last release.
/// Writers: a cell is taken by compare-and-swap by anyone, cleared under the sweep lock.
struct alignas(64) Object {
  ObjectKind kind;
  std::atomic<std::uint32_t> in_limbo;
  std::atomic<std::uint64_t> made;      // births of the family when it was made
  std::atomic<std::uint64_t> released;  // and when it last lost its last cell
  std::atomic<Object*> next_in_limbo;
  Owned<CellBlock> more_cells;
  std::array<std::atomic<Stamp>, 11> cells;
};
static_assert(sizeof(Object) == 128);

/// One process's claim on an object: a cell, and an entry in the process's list.
/// After fork: the child's copy has neither; giving it up does nothing.
class Claim {
 public:
  Claim(Object& object, Stamp owner, Owned<Object>& entry) noexcept
      : object_(&object), owner_(owner), entry_(&entry) {}
  ~Claim();
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  /// That cell is its own from now on; without one it gives up nothing.
  void hold(std::atomic<Stamp>& cell) noexcept { cell_ = &cell; }
  [[nodiscard]] Object& object() const noexcept { return *object_; }
  /// Set by close() in this process; all copies of the handle share it.
  std::atomic<bool> closed{false};
  /// A descriptor of this process that goes with the object, -1 while it has none; closed with the claim.
  std::atomic<int> descriptor{-1};

 private:
  Object* object_;
  Stamp owner_;
  Owned<Object>* entry_;
  std::atomic<Stamp>* cell_ = nullptr;
};

/// Makes an object of `size` bytes, all zero behind its Object part, and calls `initialize` on it.
std::shared_ptr<Claim> make_object(ObjectKind kind, std::size_t size,
                                   FunctionRef<void(Object&)> initialize);
/// Another claim of this process on an object that somebody's cell keeps alive meanwhile.
std::shared_ptr<Claim> claim(Object& object);

/// The same for one that is kept alive by another process only, which may have died: null if that process was
/// swept, since the object may be gone then.
std::shared_ptr<Claim> claim_unless_swept(Object& object, Stamp keeper);
/// The same for an object of which another process has told the address. That is only compared: null,
/// unless that process has a claim on an object there.
std::shared_ptr<Claim> claim_of(Stamp holder, std::uint64_t address);

/// Takes a cell of an object that is kept alive meanwhile. Throws std::bad_alloc.
std::atomic<Stamp>& take_cell(Object& object, Stamp stamp);
/// Clears every cell that holds `stamp`; ends the object if these were its last. Nothing happens where
/// no cell does, so the object may have ended before.
void drop_cells(Object& object, Stamp stamp, const SweepGuard& guard);

/// Frees what can be freed now that a process or an object is gone.
void visit_limbo(const SweepGuard& guard);
/// Takes away the claims of a process that is gone.
void drop_claims_of(ProcessSlot& dead, Stamp stamp, const SweepGuard& guard);
/// Ends what a killed holder of the sweep lock had begun. Part of taking the lock.
void recover_graveyard();

/// Frees what an object of this kind owns. Runs under the sweep lock; if killed, it runs again: so it
/// frees by Heap::free_from() and may find places empty. False: its memory must be left alone for ever.
using Destroyer = bool (*)(Object&);
void set_destroyer(ObjectKind kind, Destroyer destroyer) noexcept;
/// For destroyers: the same as drop_cells() for an object that this one referred to; what is over then
/// waits in limbo. False when no cell held the stamp.
bool drop_cells_while_destroying(Object& object, Stamp stamp);

/// Logs a warning if this thread ended an object that could not be: a lock that is held. With no lock of
/// kin's held; the log's sink is the application's.
void tell_of_left_locks() noexcept;

/// In a child after fork: it has no claims yet.
void forget_claims_of_parent() noexcept;

}  // namespace kin::detail
