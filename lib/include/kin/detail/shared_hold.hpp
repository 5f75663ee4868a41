// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>

#include <cstddef>
#include <cstdint>

namespace kin::detail {

struct Region;
struct SharedState;

/// Whether this thread holds the lock that goes with the region.
[[nodiscard]] bool is_held_here(const Region* region) noexcept;

/// An object of the family for a SharedObject, with nothing in it yet.
[[nodiscard]] KIN_EXPORT Handle new_shared_object();
/// Whether somebody was killed while he changed it. Does not wait.
[[nodiscard]] KIN_EXPORT bool is_poisoned(Object& object);

/// Holds the lock of a shared object for a scope, in which this thread allocates from the object's memory.
/// The child of a fork in it holds nothing.
class KIN_EXPORT SharedHold {
 public:
  enum class For { looking, changing, repairing, replacing };

  /// Throws OwnerDied for looking and changing, if the object is poisoned.
  SharedHold(Object& object, For purpose, Deadline deadline);
  ~SharedHold();
  SharedHold(const SharedHold&) = delete;
  SharedHold& operator=(const SharedHold&) = delete;

  /// False: the time was up.
  [[nodiscard]] explicit operator bool() const noexcept { return is_held_; }
  [[nodiscard]] bool is_poisoned() const noexcept;
  /// What is in it.
  [[nodiscard]] void* root() const noexcept;

  /// When repairing: it is as it should be.
  void heal() noexcept;
  /// When replacing: room for what is to be in it. Throws std::bad_alloc.
  [[nodiscard]] void* make_room(std::size_t size);
  /// When replacing: what is in that room is in the object from now on.
  void commit() noexcept;

 private:
  friend Region* current_region() noexcept;
  friend bool is_held_here(const Region* region) noexcept;
  // Not the child of a fork in it.
  [[nodiscard]] bool is_of_this_process() const noexcept;

  SharedState* state_;
  For purpose_;
  bool is_held_ = false;
  std::uint64_t process_;
  Region* region_ = nullptr;
  const SharedHold* outer_ = nullptr;  // this thread may be in another's with()
};

}  // namespace kin::detail
