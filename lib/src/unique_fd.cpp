// SPDX-License-Identifier: BSL-1.0

#include <kin/unique_fd.hpp>

#include <cerrno>

#include <unistd.h>

namespace kin {

void UniqueFd::reset(int fd) noexcept {
  const int old = std::exchange(fd_, fd < 0 ? none : fd);
  if (old == none) return;
  const int saved_errno = errno;
  ::close(old);  // never repeated on EINTR: Linux has closed it by then, see close(2)
  errno = saved_errno;
}

}  // namespace kin
