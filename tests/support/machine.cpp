// SPDX-License-Identifier: BSL-1.0

#include "machine.hpp"

#include <cstddef>

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

namespace crash::machine {

#if defined(__x86_64__)

std::uintptr_t program_counter(pid_t pid) {
  return static_cast<std::uintptr_t>(
      ptrace(PTRACE_PEEKUSER, pid, offsetof(user_regs_struct, rip), nullptr));
}

bool is_system_call(const Instruction& code) { return code == Instruction{0x0f, 0x05}; }

bool watch(pid_t pid, const void* word) {
  constexpr std::uintptr_t on_stores_of_8_bytes = 1U | 1U << 16 | 2U << 18;
  const auto set = [&](std::size_t index, std::uintptr_t value) {
    return ptrace(PTRACE_POKEUSER, pid, offsetof(user, u_debugreg) + index * sizeof value, value) ==
           0;
  };
  if (word == nullptr) {
    return set(7, 0);
  }
  return set(0, reinterpret_cast<std::uintptr_t>(word)) && set(7, on_stores_of_8_bytes);
}

bool mark(pid_t pid, std::uintptr_t place, const void* byte) {
  constexpr std::uintptr_t on_instruction = 1U;
  constexpr std::uintptr_t on_store_of_1_byte = 1U << 2 | 1U << 20;
  const auto set = [&](std::size_t index, std::uintptr_t value) {
    return ptrace(PTRACE_POKEUSER, pid, offsetof(user, u_debugreg) + index * sizeof value, value) ==
           0;
  };
  if (place == 0) {
    return set(7, 0);
  }
  return set(0, place) && set(1, reinterpret_cast<std::uintptr_t>(byte)) &&
         set(7, on_instruction | on_store_of_1_byte);
}

#elif defined(__aarch64__)

std::uintptr_t program_counter(pid_t pid) {
  user_regs_struct registers{};
  iovec all{&registers, sizeof registers};
  ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all);
  return registers.pc;
}

bool is_system_call(const Instruction& code) {
  return code == Instruction{0x01, 0x00, 0x00, 0xd4};  // svc #0
}

bool watch(pid_t, const void*) { return false; }
bool mark(pid_t, std::uintptr_t, const void*) { return false; }

#endif

}  // namespace crash::machine
