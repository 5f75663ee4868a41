// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"

#include <kin/detail/archive.hpp>
#include <kin/detail/cargo.hpp>

#include <cstddef>
#include <exception>
#include <span>

namespace kin::detail {

/// Whether handles and descriptors can go beside the message.
enum class ExceptionCargo : bool { stays, travels };

/// Writes an exception, whatever it is, into the message for another process; null is written as a
/// std::bad_exception. The descriptors beside the message are the exception's: keep it until it is
/// sent. Where the cargo stays, one that has some is written as its texts, and arrives as a RemoteError.
/// Throws nothing but std::bad_alloc; what was written so far is good for clear() only then.
void encode_exception(OutArchive& out, const std::exception_ptr& exception,
                      ExceptionCargo cargo = ExceptionCargo::travels);
/// Writes again what encode_exception() wrote, for where its cargo can't go.
/// Throws SerializationError if the message is damaged.
void encode_without_cargo(OutArchive& out, InArchive& in);

/// Makes it anew: one of its own type, with a RemoteError nested in it that says where it comes from;
/// or, if this process does not know the type or can't make one, the RemoteError. What was nested in
/// it there is nested in the RemoteError. Never null.
/// Throws SerializationError if the message is damaged.
std::exception_ptr decode_exception(InArchive& in);

/// What a call ended with, in place of its result: hands `give` the message. Where there is no room for its
/// cargo it goes without; where there is no memory for it a std::bad_alloc takes its place, and at last no
/// bytes at all, which stand for one and need none.
/// `unsendable` is what the function did return, "the task's result", where the exception says why that
/// can't be sent; else null.
/// Throws what `give` throws of no bytes.
void give_exception(std::exception_ptr exception, const char* unsendable,
                    FunctionRef<void(std::span<const std::byte>, const OutgoingCargo&)> give);
/// The same, where no cargo can go.
void give_exception(std::exception_ptr exception, const char* unsendable,
                    FunctionRef<void(std::span<const std::byte>)> give);
/// What it gave, made anew; see decode_exception().
std::exception_ptr take_exception(std::span<const std::byte> bytes, IncomingCargo& cargo);

}  // namespace kin::detail
