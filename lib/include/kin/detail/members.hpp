// SPDX-License-Identifier: BSL-1.0
#pragma once

// What an aggregate is made of: how many members, of which types, and a visit to each of them.
//
// Boost.PFR answers the same questions, but as of 1.81 it does not compile for an aggregate with a
// C array or a bit-field, and messages are full of `char name[32]`. So members are counted by empty
// braces: `T{{}, {}}` is valid where there are two members to initialize, and an array is one.
// Where the answer is not certain (base classes, unions, references, members without a default) the
// members are unknown, and the class has to say itself how it travels.

#include <boost/preprocessor/punctuation/comma_if.hpp>
#include <boost/preprocessor/repetition/enum.hpp>
#include <boost/preprocessor/repetition/enum_params.hpp>
#include <boost/preprocessor/repetition/repeat_from_to.hpp>

#include <cstddef>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kin::detail {

template <typename... T>
struct TypeList {};

/// A member, as it was declared. A bit-field can be read and copied with its class, but nothing can
/// refer to it.
template <typename T, bool referable>
struct Member {};

// Stand-ins for one initializer; their conversions are looked for, never called.
struct AnyValue {
  template <typename T>
  operator T() const;
};

struct AnyLvalue {
  template <typename T>
  operator T&() const;
};

struct AnyUnion {
  template <typename T>
    requires std::is_union_v<T>
  operator T() const;
};

template <typename Aggregate>
struct AnyBase {
  template <typename T>
    requires(std::is_base_of_v<T, Aggregate> && !std::is_same_v<T, Aggregate>)
  operator T() const;
};

/// The language has no pack of `{}` and none of structured bindings: each count is spelled out.
template <std::size_t count>
struct Shape;

inline constexpr std::size_t most_members = 64;

template <>
struct Shape<0> {
  template <typename T, typename... Last>
  static constexpr bool initializes = requires { T{Last{}...}; };

  template <typename T>
  static TypeList<> members(T&);

  template <typename T, typename Visitor>
  static constexpr void visit(T&, Visitor&&) {}
};

#define KIN_BRACES(z, n, data) \
  {}
#define KIN_MEMBER(z, n, data) Member<decltype(m##n), requires { std::addressof(m##n); }>
#define KIN_SHAPE(z, n, data)                                                           \
  template <>                                                                           \
  struct Shape<n> {                                                                     \
    template <typename T, typename... Last>                                             \
    static constexpr bool initializes =                                                 \
        requires { T{BOOST_PP_ENUM(n, KIN_BRACES, ) BOOST_PP_COMMA_IF(n) Last{}...}; }; \
                                                                                        \
    template <typename T>                                                               \
    static auto members(T& object) {                                                    \
      auto& [BOOST_PP_ENUM_PARAMS(n, m)] = object;                                      \
      return TypeList<BOOST_PP_ENUM(n, KIN_MEMBER, )>{};                                \
    }                                                                                   \
                                                                                        \
    template <typename T, typename Visitor>                                             \
    static constexpr void visit(T& object, Visitor&& visitor) {                         \
      auto& [BOOST_PP_ENUM_PARAMS(n, m)] = object;                                      \
      visitor(BOOST_PP_ENUM_PARAMS(n, m));                                              \
    }                                                                                   \
  };
BOOST_PP_REPEAT_FROM_TO(1, 65, KIN_SHAPE, )
#undef KIN_SHAPE
#undef KIN_MEMBER
#undef KIN_BRACES

template <typename T, std::size_t count = 0>
consteval std::size_t count_members() {
  if constexpr (count < most_members) {
    if constexpr (Shape<count + 1>::template initializes<T>) return count_members<T, count + 1>();
  }
  return count;
}

// An anonymous union has no name that a structured binding could take.
template <typename T, std::size_t count>
consteval bool has_union() {
  return []<std::size_t... n>(std::index_sequence<n...>) {
    return (Shape<n>::template initializes<T, AnyUnion> || ...);
  }(std::make_index_sequence<count>{});
}

// Such a class is taken apart by its own get(), not member by member.
template <typename T>
concept TupleLike = requires { std::tuple_size<T>::value; };

// AnyBase can initialize nothing but a base class.
template <typename T>
concept FlatAggregate = std::is_class_v<T> && std::is_aggregate_v<T> && !TupleLike<T> &&
                        !Shape<0>::template initializes<T, AnyBase<T>>;

/// Whether the count is certain: no union, and no further member that {} does not initialize.
template <FlatAggregate T>
consteval bool knows_members() {
  constexpr std::size_t count = count_members<T>();
  return Shape<count>::template initializes<T> &&
         !Shape<count>::template initializes<T, AnyValue> &&
         !Shape<count>::template initializes<T, AnyLvalue> && !has_union<T, count>();
}

/// Their types can be seen.
template <typename T>
concept VisibleMembers = FlatAggregate<T> && knows_members<T>();

/// And they can be assigned to: no references and no constants are among them. (Asked of aggregates only: g++ 12 takes
/// a closure that was asked for one that is not trivially copyable.)
template <typename T>
concept KnownMembers = FlatAggregate<T> && std::is_move_assignable_v<T> && knows_members<T>();

/// TypeList<Member<T, referable>...>
template <VisibleMembers T>
using MembersOf = decltype(Shape<count_members<T>()>::members(std::declval<T&>()));

/// Calls `visitor(member, ...)` once, with all of them. No bit-fields, unless it takes copies.
template <typename T, typename Visitor>
  requires KnownMembers<std::remove_const_t<T>>
constexpr void visit_members(T& object, Visitor&& visitor) {
  Shape<count_members<std::remove_const_t<T>>()>::visit(object, visitor);
}

}  // namespace kin::detail
