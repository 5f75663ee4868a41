// SPDX-License-Identifier: BSL-1.0
#pragma once

// Standard containers: a length, then the elements.
//
// n elements take at least n bytes: where they took less (empty structs do) the writer adds zeroes.
// So a reader can refuse a length before it makes room; and it makes room ahead only as long as that
// is little for the message. So no message makes it build more than a multiple of its own size.
// Elements are copied at once where they are plain and contiguous.

#include <kin/detail/codec.hpp>

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <forward_list>
#include <iterator>
#include <list>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace kin::detail {

template <typename Container, typename SaveElement>
void save_elements(OutArchive& out, const Container& container, std::size_t length,
                   SaveElement save_element) {
  const Nesting nesting(out);
  out.save_length(length);
  const std::size_t start = out.size();
  for (const auto& element : container) save_element(element);
  out.pad_to(start + length);
}

/// `load_element` reads an element and appends it.
template <typename Container, typename LoadElement>
void load_elements(InArchive& in, Container& container, LoadElement load_element) {
  const Nesting nesting(in);
  const std::size_t length = in.load_length(1);
  const std::size_t start = in.position();
  container.clear();
  if constexpr (requires { container.reserve(length); }) {
    // the pointer: a hashed container has one for each element
    constexpr std::size_t room = sizeof(typename Container::value_type) + sizeof(void*);
    if (in.may_make_room(length, room)) container.reserve(length);
  }
  for (std::size_t i = 0; i < length; ++i) load_element();
  in.skip_to(start + length);
}

// --- sequences

template <typename Container>
struct SequenceCodec {
  static void save(OutArchive& out, const Container& container) {
    save_elements(out, container, container.size(),
                  [&out](const auto& element) { detail::save(out, element); });
  }
  static void load(InArchive& in, Container& container) {
    load_elements(in, container, [&] { detail::load(in, container.emplace_back()); });
  }
};

/// The elements stand side by side and are copied at once.
template <typename Container>
struct ContiguousCodec {
  using T = typename Container::value_type;

  static void save(OutArchive& out, const Container& container) {
    out.save_length(container.size());
    save_plain(out, container.data(), container.size());
  }
  static void load(InArchive& in, Container& container) {
    const std::size_t length = in.load_length(sizeof(T));
    const std::byte* const from = in.take(length * sizeof(T));
    if constexpr (!has_bool<T>()) {
      if (reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0) {
        // Aligned, so the bytes are copied into fresh memory that is not filled with zeroes first.
        const T* const first = reinterpret_cast<const T*>(from);
        container.assign(first, first + length);
        return;
      }
    }
    container.resize(length);
    if (length == 0) return;
    std::memcpy(static_cast<void*>(container.data()), from, length * sizeof(T));
    if constexpr (has_bool<T>()) {
      for (const T& element : container) check_bools(element);
    }
  }
};

template <typename T, typename Allocator>
struct Codec<std::vector<T, Allocator>>
    : std::conditional_t<Plain<T>, ContiguousCodec<std::vector<T, Allocator>>,
                         SequenceCodec<std::vector<T, Allocator>>> {};

template <typename Char, typename Traits, typename Allocator>
struct Codec<std::basic_string<Char, Traits, Allocator>>
    : ContiguousCodec<std::basic_string<Char, Traits, Allocator>> {};

template <typename T, typename Allocator>
struct Codec<std::deque<T, Allocator>> : SequenceCodec<std::deque<T, Allocator>> {};

template <typename T, typename Allocator>
struct Codec<std::list<T, Allocator>> : SequenceCodec<std::list<T, Allocator>> {};

template <typename T, typename Allocator>
struct Codec<std::forward_list<T, Allocator>> {
  using List = std::forward_list<T, Allocator>;

  static void save(OutArchive& out, const List& list) {
    const auto length = static_cast<std::size_t>(std::distance(list.begin(), list.end()));
    save_elements(out, list, length, [&out](const T& element) { detail::save(out, element); });
  }
  static void load(InArchive& in, List& list) {
    auto last = list.before_begin();
    load_elements(in, list, [&] {
      last = list.emplace_after(last);
      detail::load(in, *last);
    });
  }
};

template <typename T, std::size_t size>
struct Codec<std::array<T, size>> {
  static void save(OutArchive& out, const std::array<T, size>& array) {
    for (const T& element : array) detail::save(out, element);
  }
  static void load(InArchive& in, std::array<T, size>& array) {
    for (T& element : array) detail::load(in, element);
  }
};

// --- sequences of bits, packed

template <typename Allocator>
struct Codec<std::vector<bool, Allocator>> {
  using Bits = std::vector<bool, Allocator>;

  static void save(OutArchive& out, const Bits& bits) {
    out.save_length(bits.size());
    for (std::size_t i = 0; i < bits.size(); i += 8) {
      unsigned byte = 0;
      for (std::size_t bit = 0; bit < 8 && i + bit < bits.size(); ++bit)
        byte |= static_cast<unsigned>(bits[i + bit]) << bit;
      detail::save(out, static_cast<unsigned char>(byte));
    }
  }
  static void load(InArchive& in, Bits& bits) {
    std::uint64_t length = 0;
    detail::load(in, length);
    if (length / 8 > in.remaining()) InArchive::complain_short();
    const std::byte* const bytes = in.take(length / 8 + (length % 8 != 0 ? 1 : 0));
    bits.resize(length);
    for (std::size_t i = 0; i < length; ++i)
      bits[i] = (std::to_integer<unsigned>(bytes[i / 8]) >> (i % 8) & 1U) != 0;
  }
};

template <std::size_t size>
struct Codec<std::bitset<size>> {
  static void save(OutArchive& out, const std::bitset<size>& bits) { save_plain(out, &bits, 1); }
  static void load(InArchive& in, std::bitset<size>& bits) {
    load_plain(in, &bits, 1);
    bits &= std::bitset<size>().set();  // no bits but those that there are
  }
};

// --- sets and maps; what is ordered comes in its order, so that each element belongs at the end

/// Turns into the next value of the message where the container makes its element, without a move.
template <typename T>
struct LoadInPlace {
  InArchive& in;
  operator T() const {
    T value;
    detail::load(in, value);
    return value;
  }
};

template <typename Set>
struct SetCodec {
  using Key = typename Set::key_type;

  static void save(OutArchive& out, const Set& set) {
    save_elements(out, set, set.size(), [&out](const Key& key) { detail::save(out, key); });
  }
  static void load(InArchive& in, Set& set) {
    load_elements(in, set, [&] { set.emplace_hint(set.end(), LoadInPlace<Key>{in}); });
  }
};

template <typename Map>
struct MapCodec {
  using Key = typename Map::key_type;
  using Value = typename Map::mapped_type;

  static void save(OutArchive& out, const Map& map) {
    save_elements(out, map, map.size(), [&out](const auto& entry) {
      detail::save(out, entry.first);
      detail::save(out, entry.second);
    });
  }
  static void load(InArchive& in, Map& map) {
    // a pair makes its first before its second
    load_elements(in, map, [&] {
      map.emplace_hint(map.end(), LoadInPlace<Key>{in}, LoadInPlace<Value>{in});
    });
  }
};

// clang-format off
template <typename T, typename C, typename A>
struct Codec<std::set<T, C, A>> : SetCodec<std::set<T, C, A>> {};
template <typename T, typename C, typename A>
struct Codec<std::multiset<T, C, A>> : SetCodec<std::multiset<T, C, A>> {};
template <typename T, typename H, typename E, typename A>
struct Codec<std::unordered_set<T, H, E, A>> : SetCodec<std::unordered_set<T, H, E, A>> {};
template <typename T, typename H, typename E, typename A>
struct Codec<std::unordered_multiset<T, H, E, A>>
    : SetCodec<std::unordered_multiset<T, H, E, A>> {};
template <typename K, typename V, typename C, typename A>
struct Codec<std::map<K, V, C, A>> : MapCodec<std::map<K, V, C, A>> {};
template <typename K, typename V, typename C, typename A>
struct Codec<std::multimap<K, V, C, A>> : MapCodec<std::multimap<K, V, C, A>> {};
template <typename K, typename V, typename H, typename E, typename A>
struct Codec<std::unordered_map<K, V, H, E, A>> : MapCodec<std::unordered_map<K, V, H, E, A>> {};
template <typename K, typename V, typename H, typename E, typename A>
struct Codec<std::unordered_multimap<K, V, H, E, A>>
    : MapCodec<std::unordered_multimap<K, V, H, E, A>> {};
// clang-format on

}  // namespace kin::detail
