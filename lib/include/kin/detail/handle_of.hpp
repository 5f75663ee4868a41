// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>

#include <boost/serialization/access.hpp>

#include <utility>

namespace kin::detail {

/// The next handle of a message.
/// Throws: SerializationError when it names an object of another kind.
[[nodiscard]] KIN_EXPORT Handle read_handle(InArchive& archive, ObjectKind kind);

/// The base of classes whose values are a handle of one kind of object and nothing else: how they are
/// copied, compared, and sent.
template <ObjectKind kind>
class HandleOf {
 public:
  /// Whether both name the same object.
  friend bool operator==(const HandleOf&, const HandleOf&) = default;

 protected:
  /// Names nothing; to be assigned to.
  HandleOf() noexcept = default;
  explicit HandleOf(Handle handle) noexcept : handle_(std::move(handle)) {}

  /// Throws std::logic_error when it names nothing.
  [[nodiscard]] Object& object() const { return handle_.object(); }
  void travel(OutArchive& archive) const { archive.add_handle(handle_); }
  void travel(InArchive& archive) { handle_ = read_handle(archive, kind); }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    travel(archive);
  }

  Handle handle_;
};

}  // namespace kin::detail
