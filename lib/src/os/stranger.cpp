// SPDX-License-Identifier: BSL-1.0
//
// How a process that kin forked for itself lets go of the application: of its process group and its
// signals, its descriptors, and its memory. A copy of that would cost as much as the application changes of
// its own from then on, and would keep shared mappings alive; of the arena, it would pass for a relative.
//
// Called by fork_stranger(), in the stranger. There may be locks here that are held by threads that this
// process does not have. So all is done by bare system calls; and nothing below is from the C library's or
// the standard library's functions, some of which would be found by the dynamic linker at their first call.

#include "os/stranger.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_watched = true;  // by a sanitizer, that keeps books in private memory
#else
constexpr bool is_watched = false;
#endif

/// A line of /proc/self/maps, read letter by letter:
/// 7f1c8a000000-7f1c8a021000 rw-p 00000000 00:00 0   [heap]
struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::uint64_t inode = 0;
  bool is_program = false;
  bool is_shared = false;
  char path[2] = {};

  [[nodiscard]] bool holds(std::uintptr_t address) const {
    return begin <= address && address < end;
  }

  /// What the kernel maps for each process: [vdso] and its like; but not [heap], [stack] and [anon:...].
  [[nodiscard]] bool is_of_kernel() const {
    return path[0] == '[' && path[1] != 'h' && path[1] != 's' && path[1] != 'a';
  }
  /// Whether a stranger can do without it. Programs and libraries, with their constants and tables, are
  /// private mappings of files.
  [[nodiscard]] bool is_dispensable() const {
    if (is_shared) return true;
    return inode == 0 && !is_program && !is_of_kernel() && !is_watched;
  }
};

class MappingReader {
 public:
  /// True at the end of a line: then mapping() is whole, until the next letter.
  bool take(char letter) {
    if (is_over_) *this = {};
    if (letter == '\n') return is_over_ = true;
    if (letter == ' ' && field_ < path) {
      ++field_;
    } else if (letter == '-' && field_ == begin) {
      field_ = end;
    } else {
      add(letter);
    }
    return false;
  }
  [[nodiscard]] const Mapping& mapping() const { return mapping_; }

 private:
  enum Field { begin, end, rights, offset, device, inode, path };

  static unsigned digit(char letter) {
    return static_cast<unsigned>(letter <= '9' ? letter - '0' : letter - 'a' + 10);
  }
  void add(char letter) {
    switch (field_) {
      case begin: mapping_.begin = mapping_.begin * 16 + digit(letter); break;
      case end: mapping_.end = mapping_.end * 16 + digit(letter); break;
      case rights:
        mapping_.is_program = mapping_.is_program || letter == 'x';
        mapping_.is_shared = letter == 's';  // the last letter of four
        break;
      case inode: mapping_.inode = mapping_.inode * 10 + digit(letter); break;
      case path:
        if (letter != ' ' && letters_ < 2) mapping_.path[letters_++] = letter;
        break;
      default: break;
    }
  }

  Mapping mapping_;
  int field_ = begin;
  unsigned letters_ = 0;
  bool is_over_ = false;
};

// All but what this process runs on: its program, its stack, and the block of its thread.
void forget_memory() noexcept {
  const long maps = syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return;
  char part[4096];
  const auto stack = reinterpret_cast<std::uintptr_t>(part);
  const auto thread = static_cast<std::uintptr_t>(pthread_self());
  MappingReader reader;
  for (long size = 0; (size = syscall(SYS_read, maps, part, sizeof part)) > 0;) {
    for (long i = 0; i < size; ++i) {
      if (!reader.take(part[i])) continue;
      const Mapping& one = reader.mapping();
      if (!one.is_dispensable() || one.holds(stack) || one.holds(thread)) continue;
      syscall(SYS_munmap, one.begin, one.end - one.begin);
    }
  }
  syscall(SYS_close, maps);
}

int forget_descriptors(int keep) noexcept {
  constexpr int kept = 3;
  // It is none of the three of stdio; see away_from_stdio().
  if (keep != kept) syscall(SYS_dup3, keep, kept, 0);
  const long null = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
  if (null >= 0) {
    syscall(SYS_dup3, null, STDIN_FILENO, 0);
    syscall(SYS_dup3, null, STDOUT_FILENO, 0);
  }
  if (syscall(SYS_close_range, kept + 1, ~0U, 0) == 0) return kept;
  // A kernel before 5.9. That many a process may have; more is a mistake of whoever raised that limit.
  constexpr int most = 1 << 20;
  for (int fd = kept + 1; fd < most; ++fd) syscall(SYS_close, fd);
  return kept;
}

}  // namespace

int become_stranger(int keep) noexcept {
  // Not a session of its own: the scheduler would make a new group for it (autogroup), which beside busy
  // processes waits for seconds before it runs for the first time.
  syscall(SYS_setpgid, 0, 0);
  syscall(SYS_prctl, PR_SET_NAME, "kin-tracker", 0, 0, 0);
  syscall(SYS_chdir, "/");
  const int kept = forget_descriptors(keep);
  forget_memory();
  return kept;
}

void leave_unseen(int exit_code) noexcept {
  while (true) syscall(SYS_exit_group, exit_code);
}

}  // namespace kin::detail
