// SPDX-License-Identifier: BSL-1.0
#pragma once

// Finds out whether a type may travel, and if not, why: Plain, Sendable and their error messages.
// The standard types are listed twice, here with the parts that decide, and with the way they are
// written in codec.hpp and its neighbours.

#include <kin/detail/members.hpp>
#include <kin/serialize.hpp>
#include <kin/unique_fd.hpp>

#include <boost/serialization/is_bitwise_serializable.hpp>
#include <boost/serialization/serialization.hpp>

#include <bitset>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace kin::detail {

class OutArchive;
class InArchive;

// A class has a member of that name if deriving from it and from Named makes the name ambiguous:
// lookup comes before access, so that a private member is found as well.
namespace probe {

struct Named {
  void serialize();
};

template <typename T>
struct Both : T, Named {};

template <typename T>
consteval bool has_member() {
  if constexpr (!std::is_class_v<T>) {
    return false;
  } else if constexpr (std::is_final_v<T>) {
    return requires(T& object, OutArchive& archive) { object.serialize(archive, 0U); };
  } else {
    return !requires { &Both<T>::serialize; };
  }
}

// Exactly as general as Boost's own defaults: a call is ambiguous unless there is a better match.
template <typename Archive, typename T>
void serialize(Archive&, T&, unsigned);
template <typename Archive, typename T>
void load_construct_data(Archive&, T*, unsigned);

template <typename T>
concept FreeSerialize = requires(OutArchive& archive, T& object) {
  serialize(archive, object, boost::serialization::version_type(0));
};

template <typename T>
concept FreeConstruct = requires(InArchive& archive, T* object) {
  load_construct_data(archive, object, boost::serialization::version_type(0));
};

}  // namespace probe

template <typename T>
concept HasSerialize = std::is_class_v<T> && (probe::has_member<T>() || probe::FreeSerialize<T>);

template <typename T>
concept HasLoadConstructData = probe::FreeConstruct<T>;

template <typename T>
concept Address = std::is_member_pointer_v<T> ||
                  (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>);

/// The types on which it depends whether a standard type travels; unknown for all others.
template <typename T>
struct Parts {
  static constexpr bool known = false;
};

template <typename... Part>
struct MadeOf {
  static constexpr bool known = true;
  using List = TypeList<Part...>;
};

// clang-format off
template <typename T, typename A> struct Parts<std::vector<T, A>> : MadeOf<T> {};
template <typename T, typename A> struct Parts<std::deque<T, A>> : MadeOf<T> {};
template <typename T, typename A> struct Parts<std::list<T, A>> : MadeOf<T> {};
template <typename T, typename A> struct Parts<std::forward_list<T, A>> : MadeOf<T> {};
template <typename T, std::size_t n> struct Parts<std::array<T, n>> : MadeOf<T> {};
template <typename T, typename C, typename A> struct Parts<std::set<T, C, A>> : MadeOf<T> {};
template <typename T, typename C, typename A> struct Parts<std::multiset<T, C, A>> : MadeOf<T> {};
template <typename K, typename V, typename C, typename A>
struct Parts<std::map<K, V, C, A>> : MadeOf<K, V> {};
template <typename K, typename V, typename C, typename A>
struct Parts<std::multimap<K, V, C, A>> : MadeOf<K, V> {};
template <typename T, typename H, typename E, typename A>
struct Parts<std::unordered_set<T, H, E, A>> : MadeOf<T> {};
template <typename T, typename H, typename E, typename A>
struct Parts<std::unordered_multiset<T, H, E, A>> : MadeOf<T> {};
template <typename K, typename V, typename H, typename E, typename A>
struct Parts<std::unordered_map<K, V, H, E, A>> : MadeOf<K, V> {};
template <typename K, typename V, typename H, typename E, typename A>
struct Parts<std::unordered_multimap<K, V, H, E, A>> : MadeOf<K, V> {};
template <typename C, typename T, typename A>
struct Parts<std::basic_string<C, T, A>> : MadeOf<C> {};
template <typename T, typename U> struct Parts<std::pair<T, U>> : MadeOf<T, U> {};
template <typename... T> struct Parts<std::tuple<T...>> : MadeOf<T...> {};
template <typename... T> struct Parts<std::variant<T...>> : MadeOf<T...> {};
template <typename T> struct Parts<std::optional<T>> : MadeOf<T> {};
template <std::size_t n> struct Parts<std::bitset<n>> : MadeOf<> {};
template <> struct Parts<std::filesystem::path> : MadeOf<> {};
template <> struct Parts<UniqueFd> : MadeOf<> {};
// clang-format on

/// Pointers that own their object.
template <typename T>
struct Pointee {
  static constexpr bool known = false;
};

template <typename T>
struct PointsTo {
  static constexpr bool known = true;
  using Type = std::remove_cv_t<T>;
};

template <typename T>
struct Pointee<std::unique_ptr<T>> : PointsTo<T> {};
template <typename T>
struct Pointee<std::shared_ptr<T>> : PointsTo<T> {};
template <typename T>
struct Pointee<std::weak_ptr<T>> : PointsTo<T> {};

template <typename T>
inline constexpr bool is_std_function = false;
template <typename T>
inline constexpr bool is_std_function<std::function<T>> = true;

template <typename T>
inline constexpr bool is_reference_wrapper = false;
template <typename T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

/// Says where something is, instead of what it is.
template <typename T>
concept PointsElsewhere =
    std::is_pointer_v<T> || std::is_reference_v<T> || std::is_null_pointer_v<T> ||
    is_reference_wrapper<T> ||
    (std::is_class_v<T> && (std::ranges::view<T> || std::input_or_output_iterator<T>));

/// Why a type can't travel.
enum class Refusal { none, pointer, function, member, not_trivial, no_serialize, no_default };

template <typename T, typename... Outer>
consteval Refusal refusal_of();

template <typename... Outer, typename... Part>
consteval Refusal refusal_of_parts(TypeList<Part...>) {
  Refusal found = Refusal::none;  // NOLINT(misc-const-correctness): not for all Part
  static_cast<void>(((found = refusal_of<Part, Outer...>(), found == Refusal::none) && ...));
  return found;
}

template <typename... Outer, typename... T, bool... referable>
consteval Refusal refusal_of_members(TypeList<Member<T, referable>...>) {
  if (!(referable && ...)) return Refusal::no_serialize;
  const bool all_travel = ((refusal_of<T, Outer...>() == Refusal::none) && ...);
  return all_travel ? Refusal::none : Refusal::member;
}

// An object behind a pointer is made by load_construct_data, or, if abstract, by its derived class.
template <typename T, typename... Outer>
consteval Refusal refusal_of_pointee() {
  if constexpr (std::is_void_v<T> || std::is_array_v<T>) {
    return Refusal::pointer;
  } else {
    constexpr Refusal refusal = refusal_of<T, Outer...>();
    constexpr bool made_otherwise = std::is_abstract_v<T> || HasLoadConstructData<T>;
    return refusal == Refusal::no_default && made_otherwise ? Refusal::none : refusal;
  }
}

template <typename T>
consteval Refusal unless_default_constructible() {
  return std::is_default_constructible_v<T> ? Refusal::none : Refusal::no_default;
}

// NOLINTBEGIN(bugprone-branch-clone): branches that look the same compile for different types

// Outer are the types whose parts are being looked at: a tree has a vector of trees.
template <typename Qualified, typename... Outer>
consteval Refusal refusal_of() {
  using T = std::remove_cv_t<Qualified>;
  if constexpr (is_sendable<T> || (std::is_same_v<T, Outer> || ...) || Address<T>) {
    return Refusal::none;
  } else if constexpr (std::is_array_v<T>) {
    return refusal_of<std::remove_extent_t<T>, Outer...>();
  } else if constexpr (Plain<T>) {
    return unless_default_constructible<T>();
  } else if constexpr (Parts<T>::known) {
    return refusal_of_parts<T, Outer...>(typename Parts<T>::List{});
  } else if constexpr (Pointee<T>::known) {
    return refusal_of_pointee<typename Pointee<T>::Type, T, Outer...>();
  } else if constexpr (HasSerialize<T>) {
    return unless_default_constructible<T>();
  } else if constexpr (is_plain<T>) {
    return Refusal::not_trivial;
  } else if constexpr (PointsElsewhere<T>) {
    return Refusal::pointer;
  } else if constexpr (is_std_function<T>) {
    return Refusal::function;
  } else if constexpr (KnownMembers<T>) {
    return refusal_of_members<T, Outer...>(MembersOf<T>{});
  } else {
    return Refusal::no_serialize;
  }
}

template <typename T>
consteval bool can_travel() {
  return refusal_of<T>() == Refusal::none;
}

template <typename... T, bool... referable>
consteval bool all_plain(TypeList<Member<T, referable>...>) {
  return (Plain<T> && ...);
}

template <typename T>
consteval bool looks_plain() {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    return true;
  } else if constexpr (std::is_bounded_array_v<T>) {
    return Plain<std::remove_extent_t<T>>;
  } else if constexpr (!std::is_class_v<T> || !std::is_trivially_copyable_v<T>) {
    return false;
  } else if constexpr (boost::serialization::is_bitwise_serializable<T>::value) {
    return true;
  } else if constexpr (!Parts<T>::known && !HasSerialize<T> && KnownMembers<T>) {
    return all_plain(MembersOf<T>{});
  } else {
    return false;
  }
}

// NOLINTEND(bugprone-branch-clone)

/// The one readable error for everything that sends a T. Call it before anything else that fails
/// to compile for such a T (a constraint `template <Sendable T>` does).
template <typename T>
consteval void require_sendable() {
  constexpr Refusal refusal = refusal_of<T>();
  static_assert(!std::is_array_v<T>,
                "kin: a C array can't travel in a message by itself: send a std::array, a "
                "std::vector or a std::string");
  static_assert(refusal != Refusal::pointer,
                "kin: this type can't travel in a message: pointers, references, iterators and "
                "views mean nothing in another process; send the value itself, or give the class "
                "a Boost serialize()");
  static_assert(refusal != Refusal::function,
                "kin: a std::function can't travel in a message: it hides what it captured; send a "
                "function pointer, or a class with operator() and a Boost serialize()");
  static_assert(refusal != Refusal::member,
                "kin: this struct can't travel in a message: one of its members can't (a pointer, "
                "a view, or a class without serialize()); change the member, or give the struct a "
                "Boost serialize()");
  static_assert(refusal != Refusal::not_trivial,
                "kin: kin::is_plain is set for a class that is not trivially copyable: give it a "
                "Boost serialize() instead");
  static_assert(refusal != Refusal::no_serialize,
                "kin: this class can't travel in a message: give it a Boost serialize(), or "
                "specialize kin::is_plain if it is trivially copyable and holds no addresses");
  static_assert(refusal != Refusal::no_default,
                "kin: this class can't travel in a message by value: give it a default "
                "constructor, or send it by std::unique_ptr with Boost's load_construct_data()");
}

}  // namespace kin::detail

// partial() and register_exception(), one behind the other; they need all of the above.
#include <kin/detail/portable.hpp>
