// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/line.hpp"

namespace unit {

/// A line without descriptors: nobody waits in poll().
class QuietLine final : public kin::detail::Line {
 public:
  void ring() noexcept override {}
  void silence() noexcept override {}
  void ring_here() noexcept override {}
  bool wait_for_piece(kin::detail::ByteChannel& /*channel*/) override { return false; }
};

inline QuietLine quiet_line;

}  // namespace unit
