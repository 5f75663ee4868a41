// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"

#include <kin/detail/hosted.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace kin::detail {

/// What a batch's message is a call of.
[[nodiscard]] HostedCode batch_code() noexcept;

/// Goes through the calls of a batch, each with its code, which may be exchanged for something else, and its
/// arguments. Throws SerializationError for what is no batch, and what `visit` throws.
void for_each_call(std::span<std::byte> batch,
                   FunctionRef<void(std::uint64_t& code, std::span<std::byte> arguments)> visit);

}  // namespace kin::detail
