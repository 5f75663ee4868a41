// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/byte_channel.hpp"

#include <kin/detail/archive.hpp>
#include <kin/detail/codec.hpp>

namespace crash {

/// The shared object that a handle names.
template <typename T>
kin::detail::Object& object_of(const T& handle) {
  kin::detail::OutArchive archive;
  kin::detail::encode(archive, handle);
  return archive.cargo().handles.front().object_even_closed();
}

/// Of a queue, or of the end of a pipe that has one direction.
template <typename T>
kin::detail::ByteChannel& channel_of(const T& handle) {
  return static_cast<kin::detail::ByteChannel&>(object_of(handle));
}

}  // namespace crash
