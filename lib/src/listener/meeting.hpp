// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "wire/handshake.hpp"

#include <kin/detail/end.hpp>
#include <kin/detail/handle.hpp>

#include <optional>

namespace kin::detail {

/// Where a client can be given the end of a pipe, by a relative: a channel that only the client has a claim on.
class MeetingPlace {
 public:
  /// Nowhere, where this process can't be a relative: then nobody comes.
  MeetingPlace() noexcept;

  [[nodiscard]] Meeting where() const noexcept;
  /// What the listener left there. Throws Error when there is nothing.
  [[nodiscard]] End take() const;

 private:
  Handle channel_;
};

/// The listener's side: makes a pipe, leaves one end there, returns the other. None when that can't be done
/// now; or the client has died.
std::optional<End> leave_pipe_at(const Meeting& meeting);

/// What both sides of a handshake know if they are relatives.
Mac family_secret();

}  // namespace kin::detail
