// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace kin {

namespace detail {

struct Region;
/// Of the object whose with() this thread is in, of the innermost of several; null outside.
[[nodiscard]] KIN_EXPORT Region* current_region() noexcept;
/// Throws std::logic_error if this thread does not hold the lock that goes with the region.
KIN_EXPORT void* allocate_shared(Region* region, std::size_t size);
KIN_EXPORT void free_shared(Region* region, void* memory) noexcept;

}  // namespace detail

/// What containers inside of a SharedObject allocate with: those of the standard library, of
/// Boost.Container, and others that take an allocator.
///
/// It allocates from the memory of the object in whose with() it was made; elements of a container are made
/// with the container's (as std::pmr::polymorphic_allocator does it), whatever they are copied or moved from.
/// So all of an object lies in its own memory, which ends with it; and what is moved from one object to
/// another is copied. Do not swap containers of two objects.
///
/// Sharing: for the thread that is in with(), which has the object's lock.
/// Throws: std::bad_alloc; std::logic_error outside of with().
template <typename T>
class SharedAllocator {
 public:
  using value_type = T;

  SharedAllocator() noexcept : region_(detail::current_region()) {}
  template <typename U>
  SharedAllocator(const SharedAllocator<U>& other) noexcept  // NOLINT: converts, as all do
      : region_(other.region_) {}

  [[nodiscard]] T* allocate(std::size_t count) {
    static_assert(alignof(T) <= 32, "kin: shared memory is aligned to 32 bytes, and not to more");
    if (count > PTRDIFF_MAX / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(detail::allocate_shared(region_, count * sizeof(T)));
  }
  void deallocate(T* memory, std::size_t /*count*/) noexcept {
    detail::free_shared(region_, memory);
  }
  template <typename U, typename... Arguments>
  void construct(U* place, Arguments&&... arguments) {
    std::uninitialized_construct_using_allocator(place, *this,
                                                 std::forward<Arguments>(arguments)...);
  }
  [[nodiscard]] SharedAllocator select_on_container_copy_construction() const noexcept {
    return {};
  }

  friend bool operator==(const SharedAllocator& left, const SharedAllocator& right) noexcept {
    return left.region_ == right.region_;
  }

 private:
  template <typename U>
  friend class SharedAllocator;

  detail::Region* region_;
};

namespace detail {

template <typename T>
concept TextLike = std::convertible_to<const T&, std::string_view>;

// Texts are found by any text: a key need not be made a SharedString for it.

struct Less {
  using is_transparent = void;  // NOLINT: the standard's name
  template <typename A, typename B>
  bool operator()(const A& left, const B& right) const {
    if constexpr (TextLike<A> && TextLike<B>) {
      return std::string_view(left) < std::string_view(right);
    } else {
      return left < right;
    }
  }
};

struct Equal {
  using is_transparent = void;  // NOLINT: the standard's name
  template <typename A, typename B>
  bool operator()(const A& left, const B& right) const {
    if constexpr (TextLike<A> && TextLike<B>) {
      return std::string_view(left) == std::string_view(right);
    } else {
      return left == right;
    }
  }
};

struct Hash {
  using is_transparent = void;  // NOLINT: the standard's name
  template <typename A>
  std::size_t operator()(const A& value) const {
    if constexpr (TextLike<A>) {
      return std::hash<std::string_view>()(std::string_view(value));
    } else {
      return std::hash<A>()(value);
    }
  }
};

}  // namespace detail

// The standard's containers for what is inside of a SharedObject. In maps and sets a text is found by any
// text: `map.find("word")`.

using SharedString = std::basic_string<char, std::char_traits<char>, SharedAllocator<char>>;
template <typename T>
using SharedVector = std::vector<T, SharedAllocator<T>>;
template <typename T>
using SharedDeque = std::deque<T, SharedAllocator<T>>;
template <typename T>
using SharedList = std::list<T, SharedAllocator<T>>;
template <typename Key, typename T>
using SharedMap = std::map<Key, T, detail::Less, SharedAllocator<std::pair<const Key, T>>>;
template <typename Key>
using SharedSet = std::set<Key, detail::Less, SharedAllocator<Key>>;
template <typename Key, typename T>
using SharedUnorderedMap = std::unordered_map<Key, T, detail::Hash, detail::Equal,
                                              SharedAllocator<std::pair<const Key, T>>>;
template <typename Key>
using SharedUnorderedSet =
    std::unordered_set<Key, detail::Hash, detail::Equal, SharedAllocator<Key>>;

}  // namespace kin
