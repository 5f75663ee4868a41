// SPDX-License-Identifier: BSL-1.0
#pragma once

// How each kind of type is written and read: one dispatch for both directions, so that the two
// sides take the same branch by what T is. Standard types have a Codec each.

#include <kin/detail/archive.hpp>

#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/collection_size_type.hpp>
#include <boost/serialization/item_version_type.hpp>
#include <boost/serialization/library_version_type.hpp>
#include <boost/serialization/nvp.hpp>
#include <boost/serialization/serialization.hpp>
#include <boost/serialization/version.hpp>
#include <boost/serialization/wrapper.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace kin::detail {

/// save(OutArchive&, const T&) and load(InArchive&, T&), for the types that have their own way.
template <typename T>
struct Codec;

template <typename T>
concept HasCodec = requires(OutArchive& out, const T& value) { Codec<T>::save(out, value); };

// The words of the tables in Boost's archive bases. Virtual functions there have to compile;
// nothing calls them.
template <typename T>
concept TableWord = std::same_as<T, boost::archive::version_type> ||
                    std::same_as<T, boost::archive::tracking_type> ||
                    std::derived_from<T, boost::archive::object_id_type> ||
                    std::derived_from<T, boost::archive::class_id_type> ||
                    std::same_as<T, boost::archive::class_name_type>;

template <typename T>
concept BoostWrapper = boost::serialization::is_wrapper<T>::type::value;

// --- plain values

template <typename... T, bool... referable>
consteval bool any_has_bool(TypeList<Member<T, referable>...>);

template <typename T>
inline constexpr bool is_std_array = false;
template <typename T, std::size_t size>
inline constexpr bool is_std_array<std::array<T, size>> = true;

/// A byte that is neither 0 nor 1 must not become a bool. Classes that hide their members are taken
/// at their word.
template <typename T>
consteval bool has_bool() {
  if constexpr (std::is_array_v<T>) {
    return has_bool<std::remove_all_extents_t<T>>();
  } else if constexpr (is_std_array<std::remove_cv_t<T>>) {
    return has_bool<typename T::value_type>();
  } else if constexpr (KnownMembers<std::remove_cv_t<T>>) {
    return any_has_bool(MembersOf<std::remove_cv_t<T>>{});
  } else {
    return std::same_as<std::remove_cv_t<T>, bool>;
  }
}

template <typename... T, bool... referable>
consteval bool any_has_bool(TypeList<Member<T, referable>...>) {
  return ((referable && has_bool<T>()) || ...);
}

template <typename T>
void check_bools(const T& value) {
  if constexpr (!has_bool<T>()) {
    return;
  } else if constexpr (std::is_array_v<T> || is_std_array<T>) {
    for (const auto& element : value) check_bools(element);
  } else if constexpr (std::is_class_v<T>) {
    visit_members(value, [](const auto&... member) { (check_bools(member), ...); });
  } else {
    unsigned char byte = 0;
    std::memcpy(&byte, &value, 1);
    if (byte > 1) InArchive::complain("a bool is neither true nor false");
  }
}

template <typename T>
void save_plain(OutArchive& out, const T* first, std::size_t count) {
  out.save_binary(first, count * sizeof(T));
}

template <typename T>
void load_plain(InArchive& in, T* first, std::size_t count) {
  in.load_binary(static_cast<void*>(first), count * sizeof(T));
  if constexpr (has_bool<T>()) {
    for (std::size_t i = 0; i < count; ++i) check_bools(first[i]);
  }
}

// --- the dispatch

template <typename T>
void save(OutArchive& out, const T& value) {
  if constexpr (Plain<T> || Address<T>) {
    save_plain(out, std::addressof(value), 1);
  } else if constexpr (HasCodec<T>) {
    Codec<T>::save(out, value);
  } else if constexpr (TableWord<T>) {
    InArchive::complain("kin's archives have no tables of classes");
  } else if constexpr (HasSerialize<T> || BoostWrapper<T> || is_sendable<T>) {
    boost::serialization::serialize_adl(out, const_cast<T&>(value),
                                        boost::serialization::version<T>::value);
  } else {
    require_sendable<T>();
    if constexpr (KnownMembers<T>)
      visit_members(value, [&](const auto&... member) { (detail::save(out, member), ...); });
  }
}

template <typename T>
void load_value(InArchive& in, T& value) {
  if constexpr (Address<T>) in.require_trust();
  if constexpr (Plain<T> || Address<T>) {
    load_plain(in, std::addressof(value), 1);
  } else if constexpr (HasCodec<T>) {
    Codec<T>::load(in, value);
  } else if constexpr (TableWord<T>) {
    InArchive::complain("kin's archives have no tables of classes");
  } else if constexpr (HasSerialize<T> || BoostWrapper<T> || is_sendable<T>) {
    boost::serialization::serialize_adl(in, value, boost::serialization::version<T>::value);
  } else {
    require_sendable<T>();
    if constexpr (KnownMembers<T>)
      visit_members(value, [&](auto&... member) { (detail::load(in, member), ...); });
  }
}

template <typename Qualified>
void load(InArchive& in, Qualified& target) {
  using T = std::remove_const_t<Qualified>;
  static_assert(std::same_as<T, Qualified> || BoostWrapper<T>,
                "kin: a constant can't be read from a message");
  detail::load_value(in,
                     const_cast<T&>(target));  // wrappers are constants that refer to what is read
}

// --- what serialize() functions wrap their members in

template <typename T>
struct Codec<boost::serialization::nvp<T>> {
  using Wrapper = boost::serialization::nvp<T>;
  static void save(OutArchive& out, const Wrapper& wrapper) {
    detail::save(out, wrapper.const_value());
  }
  static void load(InArchive& in, const Wrapper& wrapper) {
    if (wrapper.name() == nullptr) in.note_constructed(std::addressof(wrapper.value()));
    detail::load(in, wrapper.value());
  }
};

template <typename T>
struct Codec<boost::serialization::array_wrapper<T>> {
  using Wrapper = boost::serialization::array_wrapper<T>;
  static void save(OutArchive& out, const Wrapper& wrapper) {
    if constexpr (Plain<T>) {
      save_plain(out, wrapper.address(), wrapper.count());
    } else {
      for (std::size_t i = 0; i < wrapper.count(); ++i) detail::save(out, wrapper.address()[i]);
    }
  }
  static void load(InArchive& in, const Wrapper& wrapper) {
    if constexpr (Plain<T>) {
      load_plain(in, wrapper.address(), wrapper.count());
    } else {
      for (std::size_t i = 0; i < wrapper.count(); ++i) detail::load(in, wrapper.address()[i]);
    }
  }
};

template <typename T, std::size_t size>
struct Codec<T[size]> {
  static void save(OutArchive& out, const T (&array)[size]) {
    for (const T& element : array) detail::save(out, element);
  }
  static void load(InArchive& in, T (&array)[size]) {
    for (T& element : array) detail::load(in, element);
  }
};

}  // namespace kin::detail

template <>
inline constexpr bool kin::is_plain<boost::serialization::collection_size_type> = false;

namespace kin::detail {

// Boost's own functions for containers that kin has no Codec for read a length like this before
// they make room for it. Nothing says how long an element is: one byte at least.
template <>
struct Codec<boost::serialization::collection_size_type> {
  static void save(OutArchive& out, const boost::serialization::collection_size_type& length) {
    out.save_length(length);
  }
  static void load(InArchive& in, boost::serialization::collection_size_type& length) {
    length = boost::serialization::collection_size_type(in.load_unknown_length());
  }
};

template <typename Number>
struct VersionCodec {
  static void save(OutArchive& out, const Number& number) {
    detail::save(out, static_cast<unsigned>(number));
  }
  static void load(InArchive& in, Number& number) {
    unsigned value = 0;
    detail::load(in, value);
    number = Number(value);
  }
};

template <>
struct Codec<boost::serialization::item_version_type>
    : VersionCodec<boost::serialization::item_version_type> {};
template <>
struct Codec<boost::serialization::library_version_type>
    : VersionCodec<boost::serialization::library_version_type> {};

}  // namespace kin::detail

#include <kin/detail/callable.hpp>
#include <kin/detail/codec_containers.hpp>
#include <kin/detail/codec_pointers.hpp>
#include <kin/detail/codec_values.hpp>
