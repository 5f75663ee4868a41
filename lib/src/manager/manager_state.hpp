// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/byte_channel.hpp"
#include "manager/call_line.hpp"
#include "memory/object.hpp"
#include "waiting/futex.hpp"

#include <kin/detail/remote_call.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace kin::detail {

/// Which lines there are, and which objects nobody refers to any more.
struct LineBlock {
  static constexpr std::size_t size = 128;
  std::array<CallLine, size> lines;
};
struct DropBlock {
  static constexpr std::size_t size = 2048;
  std::array<std::atomic<std::uint32_t>, size> generations;  // of the one that was dropped
};

/// What a manager's server and its clients share.
///
/// Lifetime: while the server was not swept, whoever else refers to it; see claim_unless_swept().
/// Writers: named at each member.
struct ManagerState : Object {
  enum Phase : std::uint32_t {
    starting,
    open,
    failed,  // the server: its initializer threw; see `why_failed`
    lost,    // a relay: the connection to the server; see `why_failed`
    died,    // the gateway: the server was killed
    ended    // the maker, or the server: no more calls
  };
  static constexpr std::size_t most_blocks = 512;
  static constexpr std::uint32_t most_lines = most_blocks * LineBlock::size;
  /// Of these; the others are the family's, whatever other programs do.
  static constexpr std::uint32_t lines_for_outsiders = most_lines / 2;

  FutexWord phase;
  std::atomic<Stamp> server;  // itself, before it is open
  std::atomic<pid_t> pid;
  ByteChannel* requests;             // an object of its own, that lives as long; the maker
  std::atomic<std::uint32_t> lines;  // so many there may be: whoever adds a block
  std::atomic<std::uint32_t> drops;  // how often an object was dropped: destroyers
  std::array<Owned<LineBlock>, most_blocks> line_blocks;  // whoever needs one
  std::array<Owned<DropBlock>, most_blocks> drop_blocks;  // the server
  std::array<std::atomic<char>, 256> why_failed;

  void tell_why(std::string_view why) noexcept;
  [[nodiscard]] std::string why() const;
  [[nodiscard]] CallLine& line(std::uint32_t index) const noexcept {
    return line_blocks[index / LineBlock::size]->lines[index % LineBlock::size];
  }
};
static_assert(sizeof(ManagerState) <= Heap::manager_size);

/// An object that the server holds, as the family refers to it. When nobody does any more, whoever finds that
/// out tells the server.
/// Writers: the server, before anybody else knows of it.
struct HostedObject : Object {
  Stamp server;
  ManagerState* manager;
  std::uint32_t index;
  std::uint32_t generation;
  std::uint64_t type;  // a hash of its name
  // Of one that stands for an object of another program's manager: which. 0: it is the object itself.
  std::uint64_t outside;

  [[nodiscard]] static HostedObject& of(Object& object) noexcept {
    return static_cast<HostedObject&>(object);
  }
};

/// Who calls through a session has a number above all stamps of processes.
inline constexpr std::uint64_t first_outsider = std::uint64_t{1} << 63;
[[nodiscard]] constexpr bool is_outsider(std::uint64_t client) noexcept {
  return client >= first_outsider;
}

/// What a request begins with; the bytes of the call follow.
struct RequestHead {
  HostedCode code;  // null: the call was withdrawn while it was parked, or, without a line, a nudge
  std::uint32_t line;
  std::uint32_t sequence;
  std::uint32_t index;
  std::uint32_t generation;
  std::uint32_t flags;
  std::uint32_t limit;  // for calls that may be parked: milliseconds; 0: none, and for relays only

  static constexpr std::uint32_t no_line = UINT32_MAX;
  static constexpr std::uint32_t may_be_withdrawn = 1;
  static constexpr std::uint32_t only_looks = 2;  // is not parked
};
static_assert(sizeof(RequestHead) == request_head_size);

/// The objects of a manager's that is about to start, with the maker's claims.
struct ManagerMemory {
  std::shared_ptr<Claim> state_claim;
  std::shared_ptr<Claim> requests_claim;

  ManagerMemory();
  /// With claims of this process's.
  ManagerMemory(const ManagerMemory& other);
  ManagerMemory& operator=(const ManagerMemory&) = delete;
  ~ManagerMemory() = default;
  [[nodiscard]] ManagerState& state() const noexcept {
    return static_cast<ManagerState&>(state_claim->object());
  }
};

/// Takes a line for this process, of the first `most`. Throws std::bad_alloc.
std::uint32_t take_line(ManagerState& manager, std::uint32_t most = ManagerState::most_lines);

/// The server's: makes what the family refers to an object by.
std::shared_ptr<Claim> make_hosted(ManagerState& manager, std::uint32_t index,
                                   std::uint32_t generation, std::uint64_t type,
                                   std::uint64_t outside = 0);

/// Writes an answer, and then tells: by one store. For who has the call: the server. `flags` are those of
/// LineWord. Throws std::bad_alloc, SystemError for descriptors.
void answer(ManagerState& manager, CallLine& line, std::uint32_t sequence,
            std::span<const std::byte> bytes, const OutgoingCargo& cargo, std::uint8_t flags);
/// The server, of a line whose owner is dead and that nobody will read: all that is in it goes.
void recycle_line(CallLine& line);

}  // namespace kin::detail
