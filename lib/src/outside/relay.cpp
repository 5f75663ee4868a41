// SPDX-License-Identifier: BSL-1.0

#include "outside/relay.hpp"

#include "base/log_text.hpp"
#include "channel/byte_channel.hpp"
#include "manager/line_call.hpp"
#include "waiting/futex.hpp"
#include "wire/exception.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace kin::detail {

Relay::Relay(ManagerState& state, End connection)
    : state_(state), stamp_(this_process()), connection_(std::move(connection)) {
  // The first is the root.
  stand_ins_.push_back(
      {.object = {.index = 0, .generation = 0, .type = type_number(typeid(HostRoot))},
       .generation = 0,
       .is_used = true});
}

void Relay::run() {
  std::thread reader([this] { read_answers(); });
  NoLine no_line;
  RequestHead head{};
  const auto read_head = [&](const Part& part) {
    if (part.bytes.size() >= sizeof head) std::memcpy(&head, part.bytes.data(), sizeof head);
  };
  const auto read = [&](const Part& part) {
    if (part.bytes.size() < sizeof head) return;
    request_.assign(part.bytes.begin() + sizeof head, part.bytes.end());
    read_head(part);
  };
  try {
    look_around();
    while (true) {
      bool has_come = false;
      std::exception_ptr why_not_whole;
      try {
        has_come = get(*state_.requests, read, &cargo_, no_line, Deadline::at(next_look_));
      } catch (const QueueShutDown&) {
        throw;
      } catch (const std::exception&) {
        // There is no memory here for it, or no room for a descriptor: that call's affair, of which no more is
        // taken than whose it is.
        why_not_whole = std::current_exception();
        cargo_.clear();
        request_.clear();
        has_come = try_get(*state_.requests, read_head, nullptr, no_line, Deadline::never());
        if (!has_come) throw;
      }
      if (!has_come) {
        look_around();
      } else {
        forward(head, request_, why_not_whole);
      }
      cargo_.clear();
      if (Deadline::now() >= next_look_) look_around();
    }
  } catch (const QueueShutDown&) {
    // By its maker, or by the reader when the connection was lost.
  } catch (const BrokenPipe&) {
    // Answers may have come before. The other thread reads them, and then the end.
  } catch (const std::exception& error) {
    lose(error.what());
  }
  try {
    look_around();
    send({.kind = FrameKind::end});
  } catch (const std::exception& error) {
    log_text(LogLevel::debug, [&] {
      return std::string("a manager's relay could not say that it ends: ") + error.what();
    });
  }
  reader.join();
}

void Relay::send(const CallFrame& frame) { connection_.send(write_frame(frame), {}); }

// ---- requests

void Relay::forward(const RequestHead& head, std::span<std::byte> arguments,
                    const std::exception_ptr& why_not_whole) {
  if (head.code == nullptr) return;
  CallLine& line = state_.line(head.line);
  {
    const std::lock_guard lock(mutex_);
    if (head.line >= slots_.size()) slots_.resize(head.line + 1);
    Slot& slot = slots_[head.line];
    // Of one that is dead, whose line is another's by now.
    if (static_cast<std::int32_t>(head.sequence - slot.floor) <= 0) return;
    slot.floor = head.sequence;
  }
  // From here on the client can't withdraw it: the other side looks after the time limit.
  if ((head.flags & RequestHead::may_be_withdrawn) != 0 &&
      !begin_call(line, head.sequence, CallState::called)) {
    return;
  }
  std::optional<CallFrame> frame;
  try {
    if (why_not_whole) std::rethrow_exception(why_not_whole);
    frame = translate(head, arguments);
  } catch (const NotExposed& refused) {
    fail(head, refused.to_be_sent(), LineWord::exception | LineWord::refused);
    return;
  } catch (...) {
    fail(head, std::current_exception());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    slots_[head.line].state = SlotState::waiting;
    slots_[head.line].sequence = head.sequence;
    slots_[head.line].is_lost = false;
  }
  try {
    send(*frame);
  } catch (const std::bad_alloc&) {
    const std::lock_guard lock(mutex_);
    slots_[head.line].state = SlotState::idle;
    fail(head, std::current_exception());
  }
}

CallFrame Relay::translate(const RequestHead& head, std::span<std::byte> arguments) {
  if (!cargo_.descriptors.empty()) {
    throw std::invalid_argument("kin: a descriptor can't go to another program's manager");
  }
  if (head.line >= most_slots) throw std::bad_alloc();
  CallFrame frame{.kind = FrameKind::call,
                  .slot = head.line,
                  .sequence = head.sequence,
                  .limit = head.limit,
                  .outsider = outsider_for(state_.line(head.line).owner.load()),
                  .bytes = arguments};
  if ((head.flags & RequestHead::only_looks) != 0) frame.flags |= CallFrame::only_looks;
  frame.number = exposed_.number_for(head.code, arguments);
  const std::lock_guard lock(mutex_);
  const StandIn& target = stand_ins_.at(head.index);
  if (target.generation != head.generation) {
    throw std::logic_error("kin: the manager holds no such object any more");
  }
  frame.object = target.object;
  for (const Handle& handle : cargo_.handles) {
    Object& object = handle.object();
    if (object.kind != ObjectKind::hosted || HostedObject::of(object).server != stamp_) {
      throw std::invalid_argument(
          "kin: a queue, lock or other object of this program's can't go to another program's "
          "manager; proxies of that manager's objects can");
    }
    frame.objects.push_back(object_of(HostedObject::of(object)));
  }
  return frame;
}

ObjectRef Relay::object_of(const HostedObject& hosted) {
  return stand_ins_.at(hosted.index).object;
}

std::uint32_t Relay::outsider_for(Stamp process) {
  const auto [at, is_new] = outsiders_.try_emplace(process, last_outsider_ + 1);
  if (is_new) ++last_outsider_;
  return at->second;
}

void Relay::fail(const RequestHead& head, std::exception_ptr exception,
                 std::uint8_t flags) noexcept {
  give_exception(std::move(exception), nullptr, [&](std::span<const std::byte> bytes) {
    answer(state_, state_.line(head.line), head.sequence, bytes, {}, flags);
  });
}

// ---- between requests

void Relay::look_around() {
  std::vector<CallFrame> news;
  bury_the_dead(news);
  collect_read(news);
  collect_dropped(news);
  next_look_ = Deadline::now() + slice_nanoseconds;
  for (const CallFrame& frame : news) send(frame);
}

void Relay::bury_the_dead(std::vector<CallFrame>& news) {
  const std::uint32_t lines = state_.lines.load();
  std::vector<Stamp> processes;
  processes.reserve(outsiders_.size());
  for (const auto& [process, number] : outsiders_) processes.push_back(process);
  for (std::uint32_t index = 0; index < lines; ++index) {
    if (const Stamp owner = state_.line(index).owner.load(); owner != 0) processes.push_back(owner);
  }
  std::ranges::sort(processes);
  const auto [first, last] = std::ranges::unique(processes);
  processes.erase(first, last);
  for (const Stamp dead : processes) {
    if (dead == stamp_ || !sweep_if_gone(dead)) continue;
    for (std::uint32_t index = 0; index < lines; ++index) {
      CallLine& line = state_.line(index);
      if (line.owner.load() != dead) continue;
      const std::lock_guard lock(mutex_);
      if (index >= slots_.size()) slots_.resize(index + 1);
      Slot& slot = slots_[index];
      const LineWord word = line.now();
      slot.floor = word.sequence();
      if (slot.state != SlotState::idle) {
        // It may have begun with the next one.
        const bool is_unread =
            word.sequence() == slot.sequence && word.state() == CallState::answered;
        const bool was_read = slot.state == SlotState::answered && !is_unread && !slot.is_lost;
        news.push_back({.kind = FrameKind::over,
                        .slot = index,
                        .sequence = slot.sequence,
                        .flags = was_read ? 0U : CallFrame::unread});
        slot.state = SlotState::idle;
      }
      recycle_line(line);
    }
    if (const auto known = outsiders_.extract(dead)) {
      news.push_back({.kind = FrameKind::bury, .outsider = known.mapped()});
    }
  }
}

// Of what may be taken back the other side has to know soon that it was read.
void Relay::collect_read(std::vector<CallFrame>& news) {
  const std::lock_guard lock(mutex_);
  for (std::uint32_t index = 0; index < slots_.size(); ++index) {
    Slot& slot = slots_[index];
    if (slot.state != SlotState::answered) continue;
    const LineWord word = state_.line(index).now();
    if (word.sequence() == slot.sequence && word.state() == CallState::answered) continue;
    news.push_back({.kind = FrameKind::over,
                    .slot = index,
                    .sequence = slot.sequence,
                    .flags = slot.is_lost ? CallFrame::unread : 0U});
    slot.state = SlotState::idle;
  }
}

void Relay::collect_dropped(std::vector<CallFrame>& news) {
  const std::lock_guard lock(mutex_);
  for (const ObjectRef& object : std::exchange(unwanted_, {})) {
    news.push_back({.kind = FrameKind::drop, .object = object});
  }
  const std::uint32_t drops = state_.drops.load();
  if (drops == drops_seen_) return;
  drops_seen_ = drops;
  for (std::uint32_t index = 1; index < stand_ins_.size(); ++index) {
    StandIn& stand_in = stand_ins_[index];
    if (!stand_in.is_used) continue;
    const DropBlock& block = *state_.drop_blocks[index / DropBlock::size];
    if (block.generations[index % DropBlock::size].load() != stand_in.generation) continue;
    news.push_back({.kind = FrameKind::drop, .object = stand_in.object});
    stand_in.is_used = false;
    free_stand_ins_.push_back(index);
  }
}

// ---- answers

void Relay::read_answers() {
  std::string why = "it was closed there";
  try {
    std::vector<std::byte> message;
    IncomingCargo none;
    while (connection_.receive(message, none, Deadline::never())) {
      const CallFrame frame = read_frame(message);
      if (frame.kind == FrameKind::end) {
        why = "the manager has ended";
        break;
      }
      if (frame.kind == FrameKind::answer) take_answer(frame);
    }
  } catch (const EndOfStream&) {
  } catch (const std::exception& error) {
    why = error.what();
  }
  lose(why);
}

// In either thread.
void Relay::lose(const std::string& why) {
  const std::lock_guard lock(mutex_);
  const auto phase = state_.phase.load();
  if (phase == ManagerState::ended || phase == ManagerState::lost) return;
  // If killed before this: the family sees that we are dead.
  state_.tell_why("the connection to the manager was lost: " + why);
  state_.phase.store(ManagerState::lost);
  NoLine no_line;
  shut_down(*state_.requests, no_line);
}

void Relay::take_answer(const CallFrame& frame) {
  const std::lock_guard lock(mutex_);
  Slot* const slot = frame.slot < slots_.size() ? &slots_[frame.slot] : nullptr;
  if (slot == nullptr || slot->state != SlotState::waiting || slot->sequence != frame.sequence) {
    unwanted_.insert(unwanted_.end(), frame.objects.begin(), frame.objects.end());
    return;
  }
  CallLine& line = state_.line(frame.slot);
  std::uint8_t flags = 0;
  if (frame.has(CallFrame::exception)) flags |= LineWord::exception;
  if (frame.has(CallFrame::late)) flags |= LineWord::not_now;
  if (frame.has(CallFrame::refused)) flags |= LineWord::refused;
  slot->state = SlotState::answered;
  std::size_t known = 0;
  try {
    std::vector<Handle> handles;
    handles.reserve(frame.objects.size());
    for (; known < frame.objects.size(); ++known) {
      handles.push_back(stand_in_for(frame.objects[known]));
    }
    answer(state_, line, frame.sequence, frame.bytes, {.handles = handles, .descriptors = {}},
           flags);
  } catch (...) {
    slot->is_lost = true;
    unwanted_.insert(unwanted_.end(), frame.objects.begin() + static_cast<std::ptrdiff_t>(known),
                     frame.objects.end());
    give_exception(std::current_exception(), "the call's result",
                   [&](std::span<const std::byte> bytes) {
                     answer(state_, line, frame.sequence, bytes, {}, LineWord::exception);
                   });
  }
}

Handle Relay::stand_in_for(const ObjectRef& object) {
  if (free_stand_ins_.empty()) {
    free_stand_ins_.reserve(stand_ins_.size() + 1);
    stand_ins_.emplace_back();
    free_stand_ins_.push_back(static_cast<std::uint32_t>(stand_ins_.size() - 1));
  }
  const std::uint32_t index = free_stand_ins_.back();
  StandIn& stand_in = stand_ins_[index];
  const std::uint64_t outside = (std::uint64_t{object.index} << 32) | object.generation;
  Handle handle(make_hosted(state_, index, stand_in.generation + 1, object.type, outside));
  free_stand_ins_.pop_back();
  stand_in = {.object = object, .generation = stand_in.generation + 1, .is_used = true};
  return handle;
}

}  // namespace kin::detail
