// SPDX-License-Identifier: BSL-1.0
#pragma once

// Finds out whether a type may live in a SharedObject: whether it, or a part of it that can be seen, has its
// memory in one process.

#include <kin/detail/handle_of.hpp>
#include <kin/detail/members.hpp>
#include <kin/detail/sendable.hpp>
#include <kin/shared_allocator.hpp>

#include <any>
#include <concepts>
#include <condition_variable>
#include <filesystem>
#include <type_traits>

namespace kin::detail {

template <typename T>
inline constexpr bool is_shared_allocator = false;
template <typename T>
inline constexpr bool is_shared_allocator<SharedAllocator<T>> = true;

template <typename T>
concept HasAllocator = requires { typename T::allocator_type; };
template <typename T>
concept HasSharedAllocator = HasAllocator<T> && is_shared_allocator<typename T::allocator_type>;

/// A mutex, a condition variable, a thread.
template <typename T>
concept HasNativeHandle = requires(T& object) { object.native_handle(); };
template <typename T>
concept OwningPointer = Pointee<T>::known || requires { typename T::deleter_type; };
/// A handle of kin's that shows what it is: what it names is shared, and what keeps it is each process's own.
template <typename T>
concept KinHandle =
    requires(const T& object) { []<ObjectKind kind>(const HandleOf<kind>&) {}(object); };

template <typename T>
concept OneOfThisProcess = HasNativeHandle<T> || std::same_as<T, std::condition_variable_any> ||
                           std::same_as<T, std::any> || std::same_as<T, std::filesystem::path> ||
                           std::same_as<T, UniqueFd> || is_std_function<T> || OwningPointer<T> ||
                           KinHandle<T> || std::is_polymorphic_v<T>;

/// std::queue and the like.
template <typename T>
concept ContainerAdaptor = requires { typename T::container_type; };

template <typename T, typename... Outer>
consteval bool may_be_shared();

template <typename... Outer, typename... Part>
consteval bool parts_may_be_shared(TypeList<Part...>) {
  return (may_be_shared<Part, Outer...>() && ...);
}
template <typename... Outer, typename... T, bool... referable>
consteval bool members_may_be_shared(TypeList<Member<T, referable>...>) {
  return (may_be_shared<T, Outer...>() && ...);
}

// NOLINTBEGIN(bugprone-branch-clone): branches that look the same compile for different types

// Outer are the types whose parts are being looked at: a tree has a vector of trees.
template <typename Qualified, typename... Outer>
consteval bool may_be_shared() {
  using T = std::remove_cv_t<Qualified>;
  if constexpr ((std::same_as<T, Outer> || ...) || Address<T>) {
    return true;
  } else if constexpr (std::is_array_v<T>) {
    return may_be_shared<std::remove_extent_t<T>, Outer...>();
  } else if constexpr (HasAllocator<T>) {
    if constexpr (HasSharedAllocator<T>) {
      return may_be_shared<typename T::value_type, T, Outer...>();
    } else {
      return false;
    }
  } else if constexpr (OneOfThisProcess<T> || PointsElsewhere<T>) {
    return false;
  } else if constexpr (Parts<T>::known) {
    return parts_may_be_shared<T, Outer...>(typename Parts<T>::List{});
  } else if constexpr (ContainerAdaptor<T>) {
    return may_be_shared<typename T::container_type, Outer...>();
  } else if constexpr (VisibleMembers<T>) {
    return members_may_be_shared<T, Outer...>(MembersOf<T>{});
  } else {
    return true;
  }
}

template <typename T, typename... Outer>
consteval bool lies_in_shared_memory();

template <typename... Outer, typename... Part>
consteval bool parts_lie_in_shared_memory(TypeList<Part...>) {
  return (lies_in_shared_memory<Part, Outer...>() || ...);
}
template <typename... Outer, typename... T, bool... referable>
consteval bool members_lie_in_shared_memory(TypeList<Member<T, referable>...>) {
  return (lies_in_shared_memory<T, Outer...>() || ...);
}

// Whether it, or a part of it that can be seen, has its memory in an object, or looks into one.
template <typename Qualified, typename... Outer>
consteval bool lies_in_shared_memory() {
  using T = std::remove_cv_t<Qualified>;
  if constexpr ((std::same_as<T, Outer> || ...)) {
    return false;
  } else if constexpr (std::is_array_v<T>) {
    return lies_in_shared_memory<std::remove_extent_t<T>, Outer...>();
  } else if constexpr (HasSharedAllocator<T> || (std::is_class_v<T> && PointsElsewhere<T>)) {
    return true;
  } else if constexpr (Parts<T>::known) {
    return parts_lie_in_shared_memory<T, Outer...>(typename Parts<T>::List{});
  } else if constexpr (VisibleMembers<T>) {
    return members_lie_in_shared_memory<T, Outer...>(MembersOf<T>{});
  } else {
    return false;
  }
}

// NOLINTEND(bugprone-branch-clone)

/// What SharedObject says of a type that can't live in it.
template <typename T>
consteval bool require_shared_parts() {
  static_assert(
      std::is_object_v<T> && may_be_shared<T>(),
      "kin: this type can't live in a SharedObject: it, or a member of it, has its memory "
      "in one process; use kin::SharedString, kin::SharedVector, kin::SharedMap and the "
      "like instead of std's, and no pointers");
  static_assert(alignof(T) <= 32, "kin: shared objects are aligned to 32 bytes, and not to more");
  return true;
}

/// What with() says of a result that has the object's memory.
template <typename T>
consteval bool require_own_memory() {
  static_assert(!lies_in_shared_memory<std::remove_cvref_t<T>>(),
                "kin: what lies in a SharedObject's memory can't leave it: copy it into a "
                "std::string, a std::vector or the like");
  return true;
}

}  // namespace kin::detail
