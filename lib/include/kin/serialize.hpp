// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <chrono>
#include <complex>
#include <cstddef>
#include <type_traits>

/// What may travel in a message.
///
/// Three kinds of types do, and need nothing or little for it:
///
/// - *Plain* values are copied byte for byte: numbers, characters, enums, durations, and arrays and
///   aggregates (`struct Point { int x, y; };`) whose every member is plain.
/// - The *standard types* made of sendable parts: strings, containers, pair, tuple, optional,
///   variant, bitset, path, unique_ptr, shared_ptr and weak_ptr. The same shared object twice in a
///   message arrives as one. An aggregate of sendable members travels too, member by member.
/// - *Classes with a Boost `serialize`*, a member (it may be private, with
///   `friend class boost::serialization::access;`) or a function beside the class, and a default
///   constructor. An object is made first and filled then. Objects behind pointers may also be made
///   by Boost's `load_construct_data`, and derived ones are sent through a pointer to their base
///   when BOOST_CLASS_EXPORT names them.
///
///       class Account {
///        public:
///         Account() = default;
///        private:
///         friend class boost::serialization::access;
///         template <typename Archive>
///         void serialize(Archive& archive, unsigned) { archive & owner_ & balance_; }
///         std::string owner_;
///         long balance_ = 0;
///       };
///
/// Pointers to functions and to members travel as addresses: all kin run the same program image.
/// A function with what it is to be called with travels as a partial().
/// Pointers to objects, references, iterators and views do not travel: they would point into the
/// memory of another process. (A `serialize` of yours may archive a pointer that owns its object;
/// it stands for the object then, as Boost's manual says.)
///
/// Unlike Boost's archives, kin's do not look for one object that is saved both by value and by
/// pointer: it arrives as two. Nesting deeper than 1000 containers or pointers is refused.
namespace kin {

namespace detail {
template <typename T>
consteval bool looks_plain();
template <typename T>
consteval bool can_travel();
template <typename T>
struct Codec;
}  // namespace detail

/// Whether T is copied byte for byte. Found out for numbers, enums, arrays and aggregates; other
/// trivially copyable classes say so themselves, if they hold no address:
///
///     template <>
///     inline constexpr bool kin::is_plain<Money> = true;
template <typename T>
inline constexpr bool is_plain = detail::looks_plain<T>();

template <typename T, std::size_t size>
inline constexpr bool is_plain<std::array<T, size>> = is_plain<std::remove_cv_t<T>>;
template <typename T>
inline constexpr bool is_plain<std::complex<T>> = std::is_floating_point_v<T>;
template <typename Rep, typename Period>
inline constexpr bool is_plain<std::chrono::duration<Rep, Period>> = is_plain<Rep>;
template <typename Clock, typename Duration>
inline constexpr bool is_plain<std::chrono::time_point<Clock, Duration>> = is_plain<Duration>;

/// Says that T travels where the library can't see it: a final class whose `serialize` is private,
/// or one whose default constructor is.
template <typename T>
inline constexpr bool is_sendable = false;

/// Copied with memcpy.
template <typename T>
concept Plain = std::is_trivially_copyable_v<T> && is_plain<std::remove_cv_t<T>>;

/// May travel in a message, as a plain value or through the archive.
template <typename T>
concept Sendable = detail::can_travel<T>();

/// Has exceptions of the type T, thrown in another process, arrive as what they are. Those of the
/// standard library and of kin do so without it; what is not registered arrives as a RemoteError.
///
///     class ParseError : public std::runtime_error {
///      public:
///       using std::runtime_error::runtime_error;
///     };
///     kin::register_exception<ParseError>();  // before the pool or the process is made
///
/// What it is made from:
///
/// - A class below std::exception with a constructor from `const std::string&` or `const char*`: from
///   what what() says. If it has other members too, they arrive by its `serialize`, or not at all.
/// - Any other Sendable type: from all its members.
/// - A class below std::exception without members: by its default constructor.
///
/// Meant is exactly T: derived classes are registered by themselves. The RemoteError that says where
/// it comes from is nested in it, as by std::throw_with_nested(), unless T is final or not a class.
/// Sharing: thread-safe.
/// After fork: the child has what was registered before. Both processes have to know T.
template <typename T>
void register_exception();

}  // namespace kin

#include <kin/detail/sendable.hpp>
