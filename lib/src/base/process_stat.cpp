// SPDX-License-Identifier: BSL-1.0

#include "base/process_stat.hpp"

#include "base/syscall.hpp"

#include <kin/unique_fd.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace kin::detail {

ProcessStat process_stat(pid_t id) noexcept {
  std::array<char, 1024> text{'/', 'p', 'r', 'o', 'c', '/'};
  char* const path_end = std::to_chars(text.data() + 6, text.data() + 32, id).ptr;
  std::ranges::copy(std::string_view("/stat"), path_end);
  const UniqueFd file(::open(text.data(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  const ssize_t length =
      retry_interrupted([&] { return ::read(file.get(), text.data(), text.size()); });
  // The name, which is field 2, may hold anything: so the fields are counted from the last parenthesis.
  const char* const end = text.data() + std::max<ssize_t>(length, 0);
  const char* at = end;
  while (at != text.data() && *(at - 1) != ')') --at;
  ProcessStat stat;
  for (int field = 2; at != end && field < 22; ++at) {
    if (*at == ' ') ++field;
    if (field == 3 && *at != ' ') stat.state = *at;
  }
  std::from_chars(at, end, stat.start_time);
  return stat;
}

}  // namespace kin::detail
