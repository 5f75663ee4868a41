// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>

namespace kin::detail {

/// What only who has the key can have made of a text.
using Mac = std::array<std::byte, 32>;

/// HMAC-SHA256 of the parts, one behind the other. Throws std::bad_alloc, Error.
[[nodiscard]] Mac mac_of(std::span<const std::byte> key,
                         std::initializer_list<std::span<const std::byte>> parts);

/// Takes as long whatever is in them: so nobody learns from the time how much of a guess was right.
[[nodiscard]] bool is_same(const Mac& one, std::span<const std::byte, 32> other) noexcept;

}  // namespace kin::detail
