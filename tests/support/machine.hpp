// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstdint>

#include <sys/types.h>

/// Of a traced process that stands: all that differs between the processors.
namespace crash::machine {

#if defined(__x86_64__)
using Instruction = std::array<unsigned char, 2>;
#elif defined(__aarch64__)
using Instruction = std::array<unsigned char, 4>;
#else
#error "single steps are known on x86-64 and aarch64 only"
#endif

std::uintptr_t program_counter(pid_t pid);
bool is_system_call(const Instruction& code);

/// Makes stores of the process to a word of 8 bytes trap; to none: nullptr. False where that can't be had.
bool watch(pid_t pid, const void* word);
/// Makes the process stop before the instruction at `place`, and behind a store to `byte`; to neither: 0.
/// False where that can't be had.
bool mark(pid_t pid, std::uintptr_t place, const void* byte);

}  // namespace crash::machine
