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

/// Of a manager's: whether both are, or stand for, the same.
[[nodiscard]] KIN_EXPORT bool is_same_hosted(const Object& left, const Object& right) noexcept;

/// The base of classes whose values are a handle of one kind of object and nothing else: how they are
/// copied, compared, and sent.
template <ObjectKind kind>
class HandleOf {
 public:
  HandleOf(const HandleOf&) = default;
  HandleOf& operator=(const HandleOf&) = default;
  HandleOf(HandleOf&& other) noexcept
      : handle_(std::move(other.handle_)), object_(std::exchange(other.object_, nullptr)) {}
  HandleOf& operator=(HandleOf&& other) noexcept {
    handle_ = std::move(other.handle_);
    object_ = std::exchange(other.object_, nullptr);
    return *this;
  }
  ~HandleOf() = default;

  /// Whether both name the same object.
  friend bool operator==(const HandleOf& left, const HandleOf& right) noexcept {
    if constexpr (kind == ObjectKind::hosted) {
      if (left.object_ != nullptr && right.object_ != nullptr) {
        return is_same_hosted(*left.object_, *right.object_);
      }
    }
    return left.object_ == right.object_;
  }

 protected:
  /// Names nothing; to be assigned to.
  HandleOf() noexcept = default;
  explicit HandleOf(Handle handle) : handle_(std::move(handle)), object_(&handle_.object()) {}

  /// Throws std::logic_error when it names nothing.
  [[nodiscard]] Object& object() const { return object_ != nullptr ? *object_ : handle_.object(); }
  [[nodiscard]] const Handle& handle() const noexcept { return handle_; }
  void travel(OutArchive& archive) const { archive.add_handle(handle_); }
  void travel(InArchive& archive) { *this = HandleOf(read_handle(archive, kind)); }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    travel(archive);
  }

  Handle handle_;
  Object* object_ = nullptr;  // of handle_: a load less for each operation
};

}  // namespace kin::detail
