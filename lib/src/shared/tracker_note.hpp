// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "shared/tracker.hpp"

namespace kin::detail {

/// What the tracker is told, in one record of a socket: it comes whole or not at all.
struct TrackerNote {
  enum class Kind : unsigned char { track, untrack };

  FileId file;
  Kind kind = Kind::track;
  bool warns = true;  // whether the log of who sends it shows warnings
  char name[longest_name + 1] = {};
};

/// The life of the tracker, in a stranger: reads notes to the end of the stream, which is the end of the family,
/// removes what is left, and ends the process.
void tracker_life(int notes);

}  // namespace kin::detail
