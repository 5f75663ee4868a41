// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/error.hpp>
#include <kin/unique_fd.hpp>

#include <cstddef>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>

namespace unit {

/// All but the standard streams. A listing of /proc would need a descriptor of its own.
inline std::vector<int> open_numbers() {
  std::vector<int> numbers;
  for (int fd = 3; fd < 1000; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) numbers.push_back(fd);
  }
  return numbers;
}

/// Leaves this process room for so many descriptors more. For children: what fills the gaps stays open.
inline void leave_room_for(std::size_t count) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int highest = open_numbers().back();
  limit.rlim_cur = static_cast<rlim_t>(highest) + 1 + count;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  while (true) {  // the gaps below
    kin::UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd || fd.get() > highest) return;
    static_cast<void>(fd.release());
  }
}

/// The number of the SystemError that it throws, 0 if none.
template <typename Call>
int error_of(Call&& call) {
  try {
    call();
    return 0;
  } catch (const kin::SystemError& error) {
    return error.code().value();
  }
}

}  // namespace unit
