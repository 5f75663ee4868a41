// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "manager/manager_state.hpp"
#include "outside/call_frame.hpp"
#include "outside/exposed.hpp"

#include <kin/detail/end.hpp>

#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace kin::detail {

/// In place of a server, where the manager is another program's: it has no objects, only what stands for those
/// of the other side, and passes on what its family calls. It is a process, so that all of the family have the
/// same objects, and what a dead one had is given back.
///
/// Two threads: one takes requests from the family, the other the answers from the connection. Only the first
/// sends.
/// If it is killed: the family's calls throw ManagerDied; the session at the other end sees the end of the
/// stream, and ends, and the server gives free what it held.
class Relay {
 public:
  Relay(ManagerState& state, End connection);
  /// Until it is shut down, or the connection is lost.
  void run();

 private:
  enum class SlotState : std::uint8_t {
    idle,
    waiting,  // for the other side
    answered  // on its line, and perhaps not read yet
  };
  // Of a line.
  struct Slot {
    SlotState state = SlotState::idle;
    std::uint32_t sequence = 0;
    std::uint32_t floor = 0;  // the last that came; see Server::Book
    bool is_lost = false;     // the answer came, and could not be handed on
  };
  struct StandIn {
    ObjectRef object{};
    std::uint32_t generation = 0;
    bool is_used = false;
  };

  /// `why_not_whole`: why its arguments, or what came with them, could not be had.
  void forward(const RequestHead& head, std::span<std::byte> arguments,
               const std::exception_ptr& why_not_whole);
  [[nodiscard]] CallFrame translate(const RequestHead& head, std::span<std::byte> arguments);
  [[nodiscard]] ObjectRef object_of(const HostedObject& hosted);
  [[nodiscard]] std::uint32_t outsider_for(Stamp process);
  void fail(const RequestHead& head, std::exception_ptr exception,
            std::uint8_t flags = LineWord::exception) noexcept;
  void send(const CallFrame& frame);

  void look_around();
  void bury_the_dead(std::vector<CallFrame>& news);
  void collect_read(std::vector<CallFrame>& news);
  void collect_dropped(std::vector<CallFrame>& news);

  void lose(const std::string& why);
  void read_answers();
  void take_answer(const CallFrame& frame);
  [[nodiscard]] Handle stand_in_for(const ObjectRef& object);

  ManagerState& state_;
  Stamp stamp_;
  End connection_;
  ExposedCalls exposed_;
  std::map<Stamp, std::uint32_t> outsiders_;
  std::uint32_t last_outsider_ = 0;
  std::uint32_t drops_seen_ = 0;
  std::int64_t next_look_ = 0;
  std::vector<std::byte> request_;
  IncomingCargo cargo_;

  std::mutex mutex_;  // of what follows
  std::vector<Slot> slots_;
  std::vector<StandIn> stand_ins_;
  std::vector<std::uint32_t> free_stand_ins_;
  std::vector<ObjectRef> unwanted_;  // came with an answer for which nobody waits any more
};

}  // namespace kin::detail
