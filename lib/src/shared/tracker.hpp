// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"

#include <cstddef>
#include <string_view>

#include <sys/types.h>

namespace kin::detail {

/// Which file a name is expected to be of.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};

/// Where blocks of shared memory are files: what shm_open() opens.
inline constexpr std::string_view shared_memory_folder = "/dev/shm/";
inline constexpr std::size_t longest_name = 255;

/// From now on the name, as long as it is of that file, is removed once this process and all others of its
/// family are gone, however they went. It calls `make_name` in between, and once it is false or throws, that is
/// taken back; what it gives is the result. One thread at a time.
///
/// It is the tracker that does that: a process that is no member of the family, and waits for its end. The
/// first call in a family starts it, whoever makes that; if it was killed, the next call starts another, with a
/// warning in the log, and tells it again what this process has made. A process that has closed what it had
/// inherited (daemonizing code does) has a tracker of its own, with the children that it forks from then on.
/// Throws SystemError when there is no tracker and none can be started.
bool track(std::string_view name, FileId file, FunctionRef<bool()> make_name);
/// No longer: the name is gone. Where there is no tracker there is nothing to do.
void untrack(std::string_view name, FileId file) noexcept;

/// Of how many this process would tell another tracker. For tests.
[[nodiscard]] std::size_t blocks_made_here();
/// This process has no tracker from now on, and no part in the family's: its next block, and its children's, get
/// one of their own. For tests.
void leave_tracker() noexcept;

}  // namespace kin::detail
