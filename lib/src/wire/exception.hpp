// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>

#include <exception>

namespace kin::detail {

/// Writes an exception, whatever it is, into the message for another process; null is written as a
/// std::bad_exception. The descriptors beside the message are the exception's: keep it until it is
/// sent.
/// Throws nothing but std::bad_alloc; what was written so far is good for clear() only then.
void encode_exception(OutArchive& out, const std::exception_ptr& exception);

/// Makes it anew: one of its own type, with a RemoteError nested in it that says where it comes from;
/// or, if this process does not know the type or can't make one, the RemoteError. What was nested in
/// it there is nested in the RemoteError. Never null.
/// Throws SerializationError if the message is damaged.
std::exception_ptr decode_exception(InArchive& in);

}  // namespace kin::detail
