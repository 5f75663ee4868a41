// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/listener.hpp>
#include <kin/serialize.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kin::detail {

/// What goes through the connection between a relay and a session; only its name is used, which tells these
/// connections from others.
struct ManagerFrames {
  template <typename Archive>
  void serialize(Archive& /*archive*/, unsigned /*version*/) {}
};

[[nodiscard]] inline MessageTypes frames_of_managers() {
  return {.sent = mark_of<ManagerFrames>(), .received = mark_of<ManagerFrames>()};
}

/// An object of the manager, as both programs refer to it.
struct ObjectRef {
  std::uint32_t index;
  std::uint32_t generation;
  std::uint64_t type;
};

/// Each is a line of the manager's. All sessions together have half of these, so they can take none from its
/// family; among themselves they are not protected from one another, as who comes in has the key.
inline constexpr std::uint32_t most_slots = 16384;

enum class FrameKind : std::uint32_t {
  call,    // relay: make this call
  answer,  // session: it was made
  over,    // relay: the answer on this slot was read, or (`unread`) never will be
  drop,    // relay: one of its references is gone
  bury,    // relay: a process that called, `outsider`, is dead
  end,     // either: nothing comes any more
  last
};

/// A message between a relay and a session.
struct CallFrame {
  enum Flag : std::uint32_t {
    only_looks = 1,  // of a call
    unread = 2,      // of one that is over
    exception = 4,   // of an answer
    late = 8,        // of an answer: there is none, as the time was up or nobody wanted to wait
    refused = 16,    // of an answer: the exception says that the call is not exposed
    all_flags = 31
  };

  FrameKind kind{};
  std::uint32_t slot = 0;      // of a call and what belongs to it; one call at a time
  std::uint32_t sequence = 0;  // of the call on its slot
  std::uint32_t flags = 0;
  std::uint32_t limit = 0;              // milliseconds; 0: none
  std::uint32_t outsider = 0;           // who calls: the relay's number for one of its processes
  std::uint64_t number = 0;             // of the call
  ObjectRef object{};                   // that is called, or dropped
  std::vector<ObjectRef> objects = {};  // that go with the bytes
  std::span<const std::byte> bytes = {};

  [[nodiscard]] bool has(Flag flag) const noexcept { return (flags & flag) != 0; }
};

[[nodiscard]] std::vector<std::byte> write_frame(const CallFrame& frame);
/// Its bytes are those of `message`. Throws SerializationError for what is no frame.
[[nodiscard]] CallFrame read_frame(std::span<const std::byte> message);

}  // namespace kin::detail
