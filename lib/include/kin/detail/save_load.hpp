// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace kin::detail {

class OutArchive;
class InArchive;

// In codec.hpp; for those headers that it is made of.
template <typename T>
void save(OutArchive& out, const T& value);
template <typename T>
void load(InArchive& in, T& target);

}  // namespace kin::detail
