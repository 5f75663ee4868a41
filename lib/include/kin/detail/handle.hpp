// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <cstdint>
#include <memory>
#include <utility>

namespace kin::detail {

struct Object;
class Claim;

/// What an object in shared memory is.
enum class ObjectKind : std::uint32_t {
  none,
  channel,
  lock,
  pool,
  semaphore,
  condition,
  event,
  barrier,
  block,
  shared_object,
  manager,
  hosted,
  stream,
  count
};

/// A process's reference to an object in shared memory; the base of Queue, Lock and the like.
///
/// Copies name the same object and share one claim of this process; the object lives as long as any
/// process, or a message on its way, has a claim. A moved-from handle names nothing.
/// After fork: the child's copies work, without a claim of their own.
class KIN_EXPORT Handle {
 public:
  Handle() noexcept = default;
  explicit Handle(std::shared_ptr<Claim> claim) noexcept : claim_(std::move(claim)) {}

  /// Throws std::logic_error when the handle was moved from, or closed in this process.
  [[nodiscard]] Object& object() const {
    if (!claim_) complain_moved_from();
    return checked_object();
  }
  /// The same, for what works on a closed one as well.
  [[nodiscard]] Object& object_even_closed() const;
  /// This process's claim, closed or not.
  [[nodiscard]] Claim& claim() const;
  /// Ends the use of the object through any copy of this handle in this process.
  void close() const;
  [[nodiscard]] bool is_closed() const;

  [[nodiscard]] explicit operator bool() const noexcept { return claim_ != nullptr; }
  friend bool operator==(const Handle& left, const Handle& right) noexcept {
    return left.identity() == right.identity();
  }

 private:
  [[nodiscard]] Object& checked_object() const;
  [[nodiscard]] const Object* identity() const noexcept;
  [[noreturn]] static void complain_moved_from();

  std::shared_ptr<Claim> claim_;
};

}  // namespace kin::detail
