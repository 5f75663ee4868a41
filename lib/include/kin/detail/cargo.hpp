// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/handle.hpp>
#include <kin/unique_fd.hpp>

#include <span>
#include <vector>

namespace kin::detail {

/// What goes with the bytes of a message: objects in shared memory, and descriptors, which stay the
/// sender's too.
struct OutgoingCargo {
  std::span<const Handle> handles;
  std::span<const int> descriptors;

  [[nodiscard]] bool empty() const noexcept { return handles.empty() && descriptors.empty(); }
};

/// What came with the bytes of a message. The reader takes out what it uses; the rest is given up.
struct IncomingCargo {
  std::vector<Handle> handles;
  std::vector<UniqueFd> descriptors;

  void clear() noexcept {
    handles.clear();
    descriptors.clear();
  }
};

}  // namespace kin::detail
