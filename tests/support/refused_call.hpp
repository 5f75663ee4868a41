// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

namespace support {

/// One argument of a system call, the lower half.
struct Argument {
  unsigned index;
  std::uint32_t value;
  bool is_other = false;  // every value but this one
};

/// From now on the kernel answers that system call of this process, where it has that argument, with
/// `error`. There is no way back: for children. False where the kernel takes no filter.
inline bool refuse_call(long call, Argument argument, unsigned error) {
  const std::uint8_t where_same = argument.is_other ? 1 : 0;
  std::array<sock_filter, 6> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
               static_cast<std::uint32_t>(offsetof(seccomp_data, args)) + 8 * argument.index),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument.value, where_same,
               static_cast<std::uint8_t>(1 - where_same)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
inline constexpr const char* takes_no_filter =
    "skipped: the kernel takes no filter of system calls here";

}  // namespace support
