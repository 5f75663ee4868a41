// SPDX-License-Identifier: BSL-1.0
#pragma once

// Types that hold a few values: pair, tuple, optional, variant, path; and descriptors.

#include <kin/detail/codec.hpp>
#include <kin/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

namespace kin::detail {

template <typename T, typename U>
struct Codec<std::pair<T, U>> {
  static void save(OutArchive& out, const std::pair<T, U>& pair) {
    detail::save(out, pair.first);
    detail::save(out, pair.second);
  }
  static void load(InArchive& in, std::pair<T, U>& pair) {
    detail::load(in, pair.first);
    detail::load(in, pair.second);
  }
};

template <typename... T>
struct Codec<std::tuple<T...>> {
  static void save(OutArchive& out, const std::tuple<T...>& tuple) {
    std::apply([&](const T&... value) { (detail::save(out, value), ...); }, tuple);
  }
  static void load(InArchive& in, std::tuple<T...>& tuple) {
    std::apply([&](T&... value) { (detail::load(in, value), ...); }, tuple);
  }
};

template <typename T>
struct Codec<std::optional<T>> {
  static void save(OutArchive& out, const std::optional<T>& optional) {
    detail::save(out, optional.has_value());
    if (optional) detail::save(out, *optional);
  }
  static void load(InArchive& in, std::optional<T>& optional) {
    bool has_value = false;
    detail::load(in, has_value);
    optional.reset();
    if (has_value) detail::load(in, optional.emplace());
  }
};

template <typename... T>
struct Codec<std::variant<T...>> {
  using Variant = std::variant<T...>;

  static void save(OutArchive& out, const Variant& variant) {
    if (variant.valueless_by_exception())
      throw SerializationError("a variant without a value can't be sent");
    detail::save(out, static_cast<std::uint32_t>(variant.index()));
    std::visit([&out](const auto& value) { detail::save(out, value); }, variant);
  }
  static void load(InArchive& in, Variant& variant) {
    std::uint32_t index = 0;
    detail::load(in, index);
    const bool known = [&]<std::size_t... n>(std::index_sequence<n...>) {
      return (load_alternative<n>(in, variant, index) || ...);
    }(std::index_sequence_for<T...>{});
    if (!known) InArchive::complain("a variant has no such alternative");
  }

 private:
  template <std::size_t n>
  static bool load_alternative(InArchive& in, Variant& variant, std::uint32_t index) {
    if (index != n) return false;
    detail::load(in, variant.template emplace<n>());
    return true;
  }
};

template <>
struct Codec<UniqueFd> {
  static void save(OutArchive& out, const UniqueFd& descriptor) {
    detail::save(out, static_cast<bool>(descriptor));
    if (descriptor) out.add_descriptor(descriptor.get());
  }
  static void load(InArchive& in, UniqueFd& descriptor) {
    bool is_there = false;
    detail::load(in, is_there);
    descriptor = is_there ? in.next_descriptor() : UniqueFd();
  }
};

template <>
struct Codec<std::filesystem::path> {
  static void save(OutArchive& out, const std::filesystem::path& path) {
    detail::save(out, path.native());
  }
  static void load(InArchive& in, std::filesystem::path& path) {
    std::filesystem::path::string_type text;
    detail::load(in, text);
    path = std::move(text);
  }
};

}  // namespace kin::detail
