// SPDX-License-Identifier: BSL-1.0

// Starts the program of the crash tests a second time, with LD_BIND_NOW. Else the first call of
// each library function walks thousands of instructions through the dynamic linker, in every traced
// child anew, and all of them would be kill points. For the same reason the C library is told not to
// copy by `rep` instructions, which trap once a byte.

#include <cstdlib>

#include <unistd.h>

namespace {

[[gnu::constructor]] void bind_now(int /*argc*/, char** argv, char** /*environment*/) {
  if (std::getenv("LD_BIND_NOW") == nullptr) {
    setenv("LD_BIND_NOW", "1", 1);
    setenv("GLIBC_TUNABLES",
           "glibc.cpu.x86_rep_stosb_threshold=1073741824:"
           "glibc.cpu.x86_rep_movsb_threshold=1073741824",
           1);
    execv("/proc/self/exe", argv);
  }
}

}  // namespace
