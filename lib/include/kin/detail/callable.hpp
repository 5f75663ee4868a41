// SPDX-License-Identifier: BSL-1.0
#pragma once

// How functions travel to another process, one that was forked earlier from the same program. Before
// one is written it is checked, for what only shows at run time: addresses. A closure over `&x` or
// `this` is as trivially copyable as one over an int, and in the other process it would read stale
// memory without a word.

#include <kin/detail/archive.hpp>
#include <kin/detail/codec.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/portable.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <vector>

namespace kin::detail {

/// The program and the libraries that are loaded when this is made, and so in whatever is forked
/// from then on.
///
/// An image that was closed since, and then opened again, changed but at the same address, is taken
/// for the old one.
/// Throws: std::bad_alloc.
class KIN_EXPORT LoadedImages {
 public:
  LoadedImages();
  /// Whether it is code of theirs.
  [[nodiscard]] bool holds(const void* code_address) const noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(code_address);
    // Mostly it is the program's own.
    return address - program_.begin < program_.end - program_.begin || is_code(address);
  }
  /// Whether it is in their code or constants, which are the same in every process.
  [[nodiscard]] bool holds_constant(std::uintptr_t address) const noexcept;
  /// Whether it is in any part of theirs.
  [[nodiscard]] bool holds_any(std::uintptr_t address) const noexcept;

 private:
  struct Segment {
    std::uintptr_t begin;
    std::uintptr_t end;
    bool is_writable;
    bool is_code;
  };
  [[nodiscard]] const Segment* find(std::uintptr_t address) const noexcept;
  [[nodiscard]] bool is_code(std::uintptr_t address) const noexcept;
  std::vector<Segment> segments_;  // in the order of their addresses
  Segment program_{};              // the code of the program itself
};

/// The name of a function's type; for the address of code the function there, if it has a known name.
[[nodiscard]] KIN_EXPORT std::string describe_function(const std::type_info& type,
                                                       const void* code);
/// The checks of check_function(), with the function's code, or with what it captured.
KIN_EXPORT void check_code(const void* code, const std::type_info& type,
                           const LoadedImages* images);
KIN_EXPORT void check_captures(std::span<const std::uintptr_t> words, const std::type_info& type,
                               const LoadedImages* images);

/// The same for the code that calls the function in the other process: that of a lambda, or of a class's
/// operator(), lies in it, or beside it.
KIN_EXPORT void check_calling_code(const void* code, const std::type_info& type,
                                   const LoadedImages& images);

/// The code behind a function pointer, or behind a pointer to a member function that is not virtual.
/// Null for a null pointer, and for what is no code.
template <typename F>
const void* code_of(const F& function) {
  if constexpr (std::is_member_function_pointer_v<F>) {
    struct {
      std::uintptr_t code;
      std::uintptr_t adjustment;
    } parts{};
    static_assert(sizeof parts == sizeof function);
    std::memcpy(&parts, &function, sizeof parts);
#if defined(__aarch64__) || defined(__arm__)
    const bool is_virtual = (parts.adjustment & 1) != 0;
#else
    const bool is_virtual = (parts.code & 1) != 0;
#endif
    return is_virtual ? nullptr : reinterpret_cast<const void*>(parts.code);
  } else if constexpr (std::is_pointer_v<F>) {
    return reinterpret_cast<const void*>(function);
  } else {
    return nullptr;
  }
}

/// For messages to people. Of a partial, the name of what it calls.
template <typename F>
std::string function_name(const F& function) {
  if constexpr (is_partial<F>) {
    return "kin::partial of " + function_name(function.function());
  } else {
    return describe_function(typeid(F), code_of(function));
  }
}

/// The words of a closure that could be addresses of this process. Small numbers are below, and
/// doubles above whatever the kernel maps for a program.
template <typename F>
void check_words(const F& function, const LoadedImages* images) {
  constexpr std::size_t word_count = sizeof(F) / sizeof(std::uintptr_t);
  constexpr std::uintptr_t lowest = 0x10000;
  constexpr std::uintptr_t highest = std::uintptr_t{1} << 48;
  std::array<std::uintptr_t, word_count> words{};
  std::memcpy(words.data(), std::addressof(function), sizeof words);
  bool is_suspect = false;
  for (const std::uintptr_t word : words) is_suspect |= word >= lowest && word < highest;
  if (!is_suspect) return;
#if __has_builtin(__builtin_clear_padding)
  if constexpr (std::copy_constructible<F>) {  // what was in the padding is nobody's capture
    F copy(function);
    __builtin_clear_padding(std::addressof(copy));
    std::memcpy(words.data(), std::addressof(copy), sizeof words);
  }
#endif
  check_captures(words, typeid(F), images);
}

template <typename T>
void check_state(const T& state, const LoadedImages* images);

/// Refuses what would crash or read stale memory in the other process, before it is sent: a closure
/// that captured an address of this process's own memory, a null pointer, and, where `images` tells
/// what the other process has loaded, code and constants that it has not.
/// Throws: std::invalid_argument.
template <PortableFunction F>
void check_function(const F& function, const LoadedImages* images = nullptr) {
  if constexpr (is_partial<F>) {
    check_function(function.function(), images);
    std::apply([&](const auto&... state) { (check_state(state, images), ...); }, function.states());
  } else if constexpr (form_of<F>() == FunctionForm::address) {
    if (function == nullptr) check_code(nullptr, typeid(F), images);
    if (const void* const code = code_of(function); code != nullptr && images != nullptr) {
      if (!images->holds(code)) check_code(code, typeid(F), images);
    }
  } else if constexpr (may_hold_address<F>) {
    check_words(function, images);
  }
}

// What is bound is a value like others, but a function among them is code all the same.
template <typename T>
void check_state([[maybe_unused]] const T& state, [[maybe_unused]] const LoadedImages* images) {
  if constexpr (is_partial<T>) {
    check_function(state, images);
  } else if constexpr (Address<T>) {
    if (state != nullptr) check_function(state, images);
  }
}

template <PortableFunction F>
void check_function(const F& function, const LoadedImages& images) {
  check_function(function, &images);
}

/// Writes a function that was checked.
/// Throws SerializationError, or what a serialize() of the user's throws.
template <PortableFunction F>
void save_function(OutArchive& out, const F& function) {
  if constexpr (is_partial<F>) {
    Codec<F>::save_checked(out, function);
  } else if constexpr (form_of<F>() == FunctionForm::archive) {
    encode(out, function);
  } else if constexpr (form_of<F>() != FunctionForm::nothing) {
    out.save_binary(std::addressof(function), sizeof(F));
  }
}

/// Reads what save_function() wrote.
/// Throws SerializationError, or what a serialize() of the user's throws.
template <PortableFunction F>
[[nodiscard]] F load_function(InArchive& in) {
  if constexpr (form_of<F>() == FunctionForm::archive ||
                (form_of<F>() == FunctionForm::bytes && Sendable<F>)) {
    return decode_next<F>(in);
  } else {
    // Closures have no default constructor. Not const: NOLINTNEXTLINE(misc-const-correctness)
    std::array<std::byte, sizeof(F)> bytes{};
    if constexpr (form_of<F>() == FunctionForm::address || may_hold_address<F>) in.require_trust();
    if constexpr (form_of<F>() != FunctionForm::nothing) in.load_binary(bytes.data(), sizeof(F));
    return std::bit_cast<F>(bytes);
  }
}

template <typename F, typename... States>
struct Codec<Partial<F, States...>> {
  using Value = Partial<F, States...>;

  static void save(OutArchive& out, const Value& partial) {
    check_function(partial);
    save_checked(out, partial);
  }
  static void save_checked(OutArchive& out, const Value& partial) {
    save_function(out, partial.function());
    detail::save(out, partial.states());
  }
  static void load(InArchive& in, Value& partial) {
    if constexpr (is_bytes_only<F>) {
      if constexpr (form_of<F>() == FunctionForm::address || may_hold_address<F>) {
        in.require_trust();
      }
      if constexpr (form_of<F>() != FunctionForm::nothing)
        load_plain(in, std::addressof(partial.function_.get()), 1);
    } else {
      detail::load(in, partial.function_.get());
    }
    detail::load(in, partial.states_);
  }
};

}  // namespace kin::detail
