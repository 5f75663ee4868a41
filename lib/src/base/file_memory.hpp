// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include <fcntl.h>

namespace kin::detail {

/// Sets memory aside for a part of a file. 0, or why there is none (ENOSPC, …).
///
/// All at once: what is more than its file system may have is refused before any is taken. A signal takes back all that
/// one call has done (on tmpfs), so that where signals come again and again it would never end; then it is done in
/// steps that do.
inline int set_memory_aside(int fd, std::size_t from, std::size_t size) noexcept {
  constexpr std::size_t small = std::size_t{256} << 10;
  std::size_t step = size;
  for (std::size_t done = 0; done < size;) {
    step = std::min(step, size - done);
    const int why =
        ::posix_fallocate(fd, static_cast<off_t>(from + done), static_cast<off_t>(step));
    if (why == 0) {
      done += step;
    } else if (why == EINTR) {
      step = std::min(step, small);
    } else {
      return why;
    }
  }
  return 0;
}

}  // namespace kin::detail
