// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <string>

namespace crash {

/// "kin::ByteChannel::put() (byte_channel.cpp:120)" for an address in this program or in one forked
/// from it. Runs addr2line where there is one: meant for failures, not for loops.
std::string describe_address(std::uintptr_t address);

}  // namespace crash
