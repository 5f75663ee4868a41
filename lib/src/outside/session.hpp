// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "manager/link.hpp"
#include "outside/call_frame.hpp"
#include "outside/exposed.hpp"

#include <kin/detail/end.hpp>
#include <kin/detail/make_hosted.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace kin::detail {

/// Another program's calls, made here: a process that is a client of the server's like any other, one for each
/// connection. So whatever comes through the connection can harm nothing but this process; and when it is
/// gone, the server gives free what it held.
///
/// Only exposed calls are made, and only of objects that were given to the other side before. Two threads: one
/// takes frames from the connection, the other waits for the server's answers.
///
/// When the server is gone, what it has answered is still sent, and then that nothing comes any more. Then the
/// other side closes: were it this one, with frames unread, TCP would throw away what is still on its way there.
/// If the other side does not: the gateway kills this process.
class Session {
 public:
  Session(Handle root, End connection);
  /// Until the other side is gone; it goes when it is told that the server is.
  void run();

 private:
  enum class SlotState : std::uint8_t {
    idle,
    waiting,  // for the server
    sent      // the answer; it stays on its line until it was read on the other side
  };
  struct Slot {
    std::unique_ptr<ThreadLine> line;
    SlotState state = SlotState::idle;
    std::uint32_t sequence = 0;  // of the other side's
    Deadline limit = Deadline::never();
    Handle object;
  };
  // What the other side refers to, and how often.
  struct Lent {
    Handle handle;
    std::size_t times = 0;
  };

  [[nodiscard]] bool take(std::span<const std::byte> message);
  void begin(const CallFrame& frame);
  void make_call(const CallFrame& frame, Slot& slot);
  [[nodiscard]] const Handle& lent(const ObjectRef& object) const;
  [[nodiscard]] std::uint64_t outsider_for(std::uint32_t number);
  void end_call(const CallFrame& frame);
  void settle_unread(Slot& slot);
  template <typename Deed, typename Number>
  void tell(Deed deed, Number number);
  void give_back(const ObjectRef& object);
  void bury(std::uint32_t outsider);

  void wait_for_answers();
  [[nodiscard]] std::int64_t collect(std::vector<std::vector<std::byte>>& messages);
  void check_can_go(const IncomingCargo& cargo) const;
  [[nodiscard]] std::vector<std::byte> read_answer(std::uint32_t index, Slot& slot);
  [[nodiscard]] bool give_up(Slot& slot);
  [[nodiscard]] static std::vector<std::byte> failure(std::uint32_t slot, std::uint32_t sequence,
                                                      std::exception_ptr exception,
                                                      std::uint32_t flags = CallFrame::exception);

  Handle root_handle_;
  Root root_;
  Stamp server_;
  End connection_;
  ExposedCalls exposed_;
  std::unique_ptr<ThreadLine> bell_line_;
  std::atomic<bool> is_over_{false};
  std::atomic<bool> is_server_gone_{false};  // either thread has seen that

  std::mutex mutex_;  // of what follows
  std::vector<Slot> slots_;
  std::vector<Slot> aside_;                         // with calls that nobody waits for any more
  std::vector<std::unique_ptr<ThreadLine>> spare_;  // of such that are over
  std::map<std::pair<std::uint32_t, std::uint32_t>, Lent> lent_;
  std::map<std::uint32_t, std::uint64_t> outsiders_;
};

}  // namespace kin::detail
