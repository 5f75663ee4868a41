// SPDX-License-Identifier: BSL-1.0

#include "outside/session.hpp"

#include "base/log_text.hpp"
#include "manager/call_line.hpp"
#include "waiting/futex.hpp"
#include "wire/exception.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

namespace kin::detail {
Session::Session(Handle root, End connection)
    : root_handle_(std::move(root)),
      root_(root_handle_),
      server_(HostedObject::of(root_handle_.object()).server),
      connection_(std::move(connection)),
      bell_line_(make_line(HostedObject::of(root_handle_.object()))) {}

void Session::run() {
  std::thread waiter([this] { wait_for_answers(); });
  try {
    std::vector<std::byte> message;
    IncomingCargo none;
    while (!is_over_.load()) {
      const Deadline slice = Deadline::at(Deadline::now() + slice_nanoseconds);
      if (!connection_.receive(message, none, slice) || is_server_gone_.load()) continue;
      if (!take(message)) break;
    }
  } catch (const EndOfStream&) {
    // The other side is gone.
  } catch (const BrokenPipe&) {
    // The same.
  } catch (const std::exception& error) {
    log_text(LogLevel::warning, [&] {
      return std::string("a manager's client from outside was dropped: ") + error.what();
    });
  }
  is_over_.store(true);
  bell_line_->line->bell.fetch_add(1);
  futex_wake(bell_line_->line->bell, INT_MAX);
  waiter.join();
}

bool Session::take(std::span<const std::byte> message) {
  const CallFrame frame = read_frame(message);
  const std::lock_guard lock(mutex_);
  switch (frame.kind) {
    case FrameKind::call: begin(frame); break;
    case FrameKind::over: end_call(frame); break;
    case FrameKind::drop: give_back(frame.object); break;
    case FrameKind::bury: bury(frame.outsider); break;
    case FrameKind::end: return false;
    default: InArchive::complain("it is no frame for a session");
  }
  return true;
}

// ---- calls

void Session::begin(const CallFrame& frame) {
  if (frame.slot >= most_slots) InArchive::complain("its slot is out of range");
  if (frame.slot >= slots_.size()) slots_.resize(frame.slot + 1);
  Slot& slot = slots_[frame.slot];
  if (slot.state == SlotState::waiting) InArchive::complain("its slot has a call already");
  // Who calls again has read what was answered before.
  if (slot.state == SlotState::sent) settle(*slot.line->line);
  slot.state = SlotState::idle;
  slot.sequence = frame.sequence;
  try {
    make_call(frame, slot);
  } catch (const QueueShutDown&) {  // NOLINT(bugprone-empty-catch): the other thread will say so
  } catch (const NotExposed& refused) {
    connection_.send(failure(frame.slot, frame.sequence, refused.to_be_sent(),
                             CallFrame::exception | CallFrame::refused),
                     {});
  } catch (const std::exception&) {
    connection_.send(failure(frame.slot, frame.sequence, std::current_exception()), {});
  }
}

void Session::make_call(const CallFrame& frame, Slot& slot) {
  const Handle& object = lent(frame.object);
  const HostedObject& hosted = HostedObject::of(object.object());
  std::vector<std::byte> message(request_head_size + frame.bytes.size());
  std::ranges::copy(frame.bytes, message.begin() + request_head_size);
  const auto arguments = std::span(message).subspan(request_head_size);
  const HostedCode code = exposed_.code_for(frame.number, arguments, hosted.type);
  std::vector<Handle> handles;
  handles.reserve(frame.objects.size());
  for (const ObjectRef& one : frame.objects) handles.push_back(lent(one));

  if (!slot.line && !spare_.empty()) {
    slot.line = std::move(spare_.back());
    spare_.pop_back();
  }
  if (!slot.line) slot.line = make_line(hosted, ManagerState::lines_for_outsiders);
  CallLine& line = *slot.line->line;
  line.outsider.store(outsider_for(frame.outsider));
  line.bell_line.store(bell_line_->index);
  slot.object = object;
  slot.limit = frame.limit == 0 ? Deadline::never()
                                : Deadline::after(std::chrono::milliseconds(frame.limit));
  const std::uint32_t flags = RequestHead::may_be_withdrawn |
                              (frame.has(CallFrame::only_looks) ? RequestHead::only_looks : 0);
  send_request(*slot.line, hosted, code, message, {.handles = handles, .descriptors = {}}, flags);
  slot.state = SlotState::waiting;
  while (true) {
    const LineWord now = line.now();
    std::uint64_t before = now.bits();
    if (now.state() != CallState::answered &&
        !line.word.compare_exchange_strong(before, now.with(LineWord::observed).bits())) {
      continue;
    }
    break;
  }
  // For its limit, and for an answer that was quicker than we.
  bell_line_->line->bell.fetch_add(1);
  futex_wake(bell_line_->line->bell, INT_MAX);
}

const Handle& Session::lent(const ObjectRef& object) const {
  if (object.index == 0 && object.generation == 0) return root_handle_;
  const auto found = lent_.find({object.index, object.generation});
  if (found == lent_.end()) throw std::logic_error("kin: the manager has lent no such object");
  return found->second.handle;
}

std::uint64_t Session::outsider_for(std::uint32_t number) {
  const auto found = outsiders_.find(number);
  if (found != outsiders_.end()) return found->second;
  try {
    const std::uint64_t outsider = root_.call(&HostRoot::add_outsider, this_process());
    outsiders_.emplace(number, outsider);
    return outsider;
  } catch (const ManagerDied&) {
    is_server_gone_.store(true);
    throw;
  }
}

void Session::end_call(const CallFrame& frame) {
  if (frame.slot >= slots_.size()) return;
  Slot& slot = slots_[frame.slot];
  if (slot.sequence != frame.sequence) return;
  if (slot.state == SlotState::waiting) {
    // Nobody will read it. What waits is withdrawn. What runs is over behind a call of ours, and taken back;
    // unless it goes on, as a condition's wait does at its lock: then its line is aside until it is, as the
    // slot may have another call at once.
    if (give_up(slot)) return;
    tell(&HostRoot::take_back, slot.line->index);
    if (slot.line->line->now().state() == CallState::answered) {
      // Perhaps since then, where it was parked again in between: it is taken back once.
      settle_unread(slot);
      slot.state = SlotState::idle;
    } else if (!give_up(slot)) {
      aside_.push_back(std::move(slot));
      slot = Slot{};
    }
  } else if (slot.state == SlotState::sent) {
    if (frame.has(CallFrame::unread)) {
      settle_unread(slot);
    } else {
      settle(*slot.line->line);
    }
    slot.state = SlotState::idle;
  }
}

// What is to become of something that the server has. With the server it is gone; and each call that is made
// then takes a slice to find that out.
template <typename Deed, typename Number>
void Session::tell(Deed deed, Number number) {
  if (is_server_gone_.load()) return;
  try {
    root_.call(deed, number);
  } catch (const ManagerDied&) {
    is_server_gone_.store(true);
  }
}

void Session::settle_unread(Slot& slot) {
  tell(&HostRoot::take_back, slot.line->index);
  settle(*slot.line->line);
}

void Session::give_back(const ObjectRef& object) {
  const auto found = lent_.find({object.index, object.generation});
  if (found != lent_.end() && --found->second.times == 0) lent_.erase(found);
}

void Session::bury(std::uint32_t outsider) {
  if (const auto known = outsiders_.extract(outsider)) {
    tell(&HostRoot::bury_outsider, known.mapped());
  }
}

// ---- answers

void Session::wait_for_answers() {
  const CallLine& bell = *bell_line_->line;
  const ManagerState& state = *HostedObject::of(root_handle_.object()).manager;
  std::int64_t next_look = 0;  // so that it comes though one call follows the other
  bool is_last = false;
  try {
    while (!is_over_.load()) {
      const std::uint32_t rings = bell.bell.load();
      std::vector<std::vector<std::byte>> messages;
      std::int64_t next_limit = 0;
      {
        const std::lock_guard lock(mutex_);
        next_limit = collect(messages);
      }
      for (const auto& message : messages) connection_.send(message, {});
      if (!messages.empty()) continue;
      if (is_last) {
        is_server_gone_.store(true);
        connection_.send(write_frame({.kind = FrameKind::end}), {});
        return;
      }
      const bool rang = futex_wait_slice(bell.bell, rings, Deadline::at(next_limit));
      const std::int64_t now = Deadline::now();
      if (rang && now < next_look && state.phase.load() == ManagerState::open) continue;
      next_look = now + slice_nanoseconds;
      // What it has answered is there when it is gone: it is looked for once more.
      is_last = is_gone(server_);
    }
  } catch (const std::exception& error) {
    // The other side is gone: that shows where frames are read, too.
    log_text(LogLevel::debug,
             [&] { return std::string("a manager's session ends: ") + error.what(); });
  }
  is_over_.store(true);
}

// What is there to be sent; and when the next limit is over.
std::int64_t Session::collect(std::vector<std::vector<std::byte>>& messages) {
  std::int64_t next_limit = Deadline::never().nanoseconds();
  std::erase_if(aside_, [&](Slot& slot) {
    if (slot.line->line->now().state() == CallState::answered) {
      settle_unread(slot);
    } else if (!give_up(slot)) {
      return false;  // it runs; we are told when it is over
    }
    spare_.push_back(std::move(slot.line));
    return true;
  });
  for (std::uint32_t index = 0; index < slots_.size(); ++index) {
    Slot& slot = slots_[index];
    if (slot.state != SlotState::waiting) continue;
    if (slot.line->line->now().state() == CallState::answered) {
      messages.push_back(read_answer(index, slot));
      slot.state = SlotState::sent;
      slot.object = Handle();
    } else if (slot.limit.has_passed()) {
      if (!give_up(slot)) continue;  // it runs; we are told when it is over
      messages.push_back(write_frame({.kind = FrameKind::answer,
                                      .slot = index,
                                      .sequence = slot.sequence,
                                      .flags = CallFrame::late}));
    } else {
      next_limit = std::min(next_limit, slot.limit.nanoseconds());
    }
  }
  return next_limit;
}

void Session::check_can_go(const IncomingCargo& cargo) const {
  if (!cargo.descriptors.empty()) {
    throw std::invalid_argument("kin: a descriptor can't go to another program");
  }
  for (const Handle& handle : cargo.handles) {
    Object& object = handle.object();
    if (object.kind != ObjectKind::hosted || HostedObject::of(object).server != server_) {
      throw std::invalid_argument(
          "kin: a queue, lock or other object that is not the manager's can't go to another "
          "program");
    }
  }
}

std::vector<std::byte> Session::read_answer(std::uint32_t index, Slot& slot) {
  const CallLine& line = *slot.line->line;
  const LineWord now = line.now();
  CallFrame frame{.kind = FrameKind::answer, .slot = index, .sequence = slot.sequence};
  if (now.has(LineWord::exception)) frame.flags |= CallFrame::exception;
  if (now.has(LineWord::not_now)) frame.flags |= CallFrame::late;
  try {
    IncomingCargo cargo;
    if (now.has(LineWord::cargo)) claim_cargo(*line.cargo, cargo);
    try {
      check_can_go(cargo);
    } catch (const std::invalid_argument&) {
      if (!now.has(LineWord::exception)) throw;
      // What the function threw says more than that it can't go whole.
      OutArchive texts;
      InArchive thrown(answer_in(line), cargo);
      encode_without_cargo(texts, thrown);
      frame.bytes = texts.bytes();
      return write_frame(frame);
    }
    for (const Handle& handle : cargo.handles) {
      const HostedObject& hosted = HostedObject::of(handle.object());
      Lent& one = lent_[{hosted.index, hosted.generation}];
      if (one.times++ == 0) one.handle = handle;
      frame.objects.push_back(
          {.index = hosted.index, .generation = hosted.generation, .type = hosted.type});
    }
    frame.bytes = answer_in(line);
    return write_frame(frame);
  } catch (const std::exception&) {
    const auto why = std::current_exception();
    // What can't be handed over stays.
    tell(&HostRoot::take_back, slot.line->index);
    return failure(index, slot.sequence, why);
  }
}

// Whether the call is withdrawn then: not if it is answered, or runs.
bool Session::give_up(Slot& slot) {
  CallLine& line = *slot.line->line;
  while (true) {
    const LineWord now = line.now();
    if (now.state() != CallState::called && now.state() != CallState::parked) return false;
    std::uint64_t before = now.bits();
    if (!line.word.compare_exchange_strong(before,
                                           LineWord(now.sequence(), CallState::idle).bits()))
      continue;
    // If killed here: the server sees that we are dead, and forgets the call.
    if (now.state() == CallState::parked) {
      tell_of_withdrawal(*slot.line, HostedObject::of(slot.object.object()));
    }
    slot.state = SlotState::idle;
    slot.object = Handle();
    return true;
  }
}

std::vector<std::byte> Session::failure(std::uint32_t slot, std::uint32_t sequence,
                                        std::exception_ptr exception, std::uint32_t flags) {
  std::vector<std::byte> message;
  give_exception(std::move(exception), nullptr, [&](std::span<const std::byte> bytes) {
    message = write_frame({.kind = FrameKind::answer,
                           .slot = slot,
                           .sequence = sequence,
                           .flags = flags,
                           .bytes = bytes});
  });
  return message;
}

}  // namespace kin::detail
