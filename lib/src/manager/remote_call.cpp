// SPDX-License-Identifier: BSL-1.0
//
// A call as its client makes it: a request through the channel, then waiting on the line's word. Between
// the two there is no thread in between and no system call, unless somebody sleeps. Who calls from inside
// of the server calls the object itself.

#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "manager/link.hpp"
#include "manager/refusal.hpp"
#include "manager/server.hpp"
#include "waiting/parking.hpp"
#include "waiting/pause.hpp"
#include "waiting/soft_limit.hpp"
#include "wire/exception.hpp"

#include <kin/detail/managed_contents.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <fcntl.h>

namespace kin::detail {
namespace {

// What is left, in whole milliseconds, and at least one.
std::uint32_t limit_of(Deadline deadline) {
  if (deadline.is_never()) return 0;
  const std::int64_t left = deadline.nanoseconds() - Deadline::now();
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>((left + 999'999) / 1'000'000, 1, UINT32_MAX));
}

// Behind a soft limit, what need not wait is to succeed: so long the server has to come to it.
Deadline at_least_a_slice(Deadline deadline) {
  if (deadline.is_never()) return deadline;
  return Deadline::at(std::max(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds));
}

UniqueFd duplicate(int descriptor) {
  return away_from_stdio(UniqueFd(checked("fcntl", ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0))));
}

}  // namespace

void send_request(ThreadLine& own, const HostedObject& object, HostedCode code,
                  std::span<std::byte> message, const OutgoingCargo& cargo, std::uint32_t flags,
                  std::uint32_t limit) {
  const RequestHead head{.code = code,
                         .line = own.index,
                         .sequence = ++own.sequence,
                         .index = object.index,
                         .generation = object.generation,
                         .flags = flags,
                         .limit = limit};
  std::memcpy(message.data(), &head, sizeof head);
  CallLine& line = *own.line;
  // Relaxed: the lock of the channel is between this and whoever reads it.
  line.word.store(LineWord(head.sequence, CallState::called).bits(), std::memory_order_relaxed);
  // If killed here: the server sees that we are dead, and sets the line free.
  try {
    NoLine no_line;
    put(own.link->requests(), message, cargo, no_line, Deadline::never());
  } catch (...) {
    line.word.store(LineWord(head.sequence, CallState::idle).bits());
    throw;
  }
}

namespace {

// A request without code, behind one that it says something about.
void send_note(const ThreadLine& own, const HostedObject& object,
               const OutgoingCargo& cargo) noexcept {
  const RequestHead head{.code = nullptr,
                         .line = own.index,
                         .sequence = own.sequence,
                         .index = object.index,
                         .generation = object.generation,
                         .flags = 0,
                         .limit = 0};
  try {
    NoLine no_line;
    put(own.link->requests(), std::as_bytes(std::span(&head, 1)), cargo, no_line,
        Deadline::never());
  } catch (const std::exception&) {
    return;  // no server, or no memory: see who calls this
  }
}

}  // namespace

// Withdraws nothing, as a call that nobody waits for is not parked. If it can't be sent the call may come
// too late.
void send_along(const ThreadLine& own, const Handle& hosted) noexcept {
  send_note(own, HostedObject::of(hosted.object()),
            {.handles = std::span(&hosted, 1), .descriptors = {}});
}

// If it can't be sent the server finds out when it wants to answer.
void tell_of_withdrawal(const ThreadLine& own, const HostedObject& object) noexcept {
  send_note(own, object, {});
}

std::span<const std::byte> answer_in(const CallLine& line) noexcept {
  const LineWord now = line.now();
  if (!now.has(LineWord::in_block)) return {line.result.data(), now.length()};
  return {line.block.address(), line.length.load(std::memory_order_relaxed)};
}

void settle(CallLine& line) noexcept {
  const LineWord now = line.now();
  if (now.state() != CallState::answered) return;
  // If killed before this: what was handed over goes back. Behind it: it is ours, and goes with us.
  line.word.store(LineWord(now.sequence(), CallState::idle).bits(), std::memory_order_release);
  // If killed in here: the server does it again.
  if (now.has(LineWord::cargo)) unload_cargo(line.cargo);
}

RemoteCall::RemoteCall(Object& hosted, const std::type_info& function)
    : hosted_(hosted),
      function_(function),
      line_(Server::serves(HostedObject::of(hosted))
                ? nullptr
                : &take_thread_line(HostedObject::of(hosted))) {}

RemoteCall::~RemoteCall() {
  if (line_ == nullptr) return;
  cargo_.clear();
  settle(*line_->line);
  give_back(*line_);
}

bool RemoteCall::make(HostedCode code, std::span<std::byte> message, const OutgoingCargo& cargo,
                      Deadline deadline, bool may_wait) {
  const HostedObject& object = HostedObject::of(hosted_);
  const bool only_looks = may_wait && deadline.is_passed_from_start();
  if (line_ == nullptr) {
    return make_here(code, message.subspan(request_head_size), cargo, only_looks);
  }
  // Who may give up before the server has begun says so: then the server has to ask whether it did.
  const bool may_withdraw =
      (may_wait && !deadline.is_never() && !only_looks) || SoftLimit::is_set();
  // Where the manager is another program's, the limit is watched there: the one that comes first.
  const Deadline own_limit = only_looks ? Deadline::never() : deadline;
  const Deadline soft_limit =
      only_looks ? Deadline::never() : at_least_a_slice(SoftLimit::deadline());
  const bool is_soft = soft_limit.nanoseconds() < own_limit.nanoseconds();
  const std::uint32_t flags = (may_withdraw ? RequestHead::may_be_withdrawn : 0) |
                              (only_looks ? RequestHead::only_looks : 0);
  try {
    send_request(*line_, object, code, message, cargo, flags,
                 limit_of(is_soft ? soft_limit : own_limit));
  } catch (const QueueShutDown&) {
    const std::shared_ptr<ServerLink> link = line_->link;
    drop(*std::exchange(line_, nullptr));
    complain_server_died(link->state());
  }
  if (!wait(own_limit, may_withdraw)) return false;
  read_answer(message.subspan(request_head_size));
  if (!line_->line->now().has(LineWord::not_now)) return true;
  if (is_soft) SoftLimit::give_up();
  return false;
}

void RemoteCall::make_in_any_case(HostedCode code, std::span<std::byte> message,
                                  const OutgoingCargo& cargo) {
  const SoftLimit no_limit;
  static_cast<void>(make(code, message, cargo, Deadline::never(), false));
}

// False: the time is up, and the call is withdrawn.
bool RemoteCall::wait(Deadline deadline, bool may_withdraw) {
  CallLine& line = *line_->line;
  const auto is_answered = [&line] {
    // SYNC answer: pairs with the exchange in answer().
    return LineWord(line.word.load(std::memory_order_acquire)).state() == CallState::answered;
  };
  constexpr int looks = 100;  // about 1 to 3 µs, without the calls down to spin()
  for (int i = 0; i < looks; ++i) {
    if (is_answered()) return true;
    pause();
  }
  if (spin(is_answered, deadline, nullptr)) return true;
  const Deadline soft_limit = at_least_a_slice(SoftLimit::deadline());
  while (true) {
    const LineWord now = line.now();
    if (now.state() == CallState::answered) return true;
    const bool is_late = deadline.has_passed();
    const bool is_softly_late = SoftLimit::gives_up();
    const bool gives_up =
        is_late ||
        (is_softly_late && (now.state() == CallState::parked || soft_limit.has_passed()));
    if (may_withdraw && gives_up && now.state() != CallState::running) {
      std::uint64_t before = now.bits();
      if (!line.word.compare_exchange_strong(before,
                                             LineWord(now.sequence(), CallState::idle).bits()))
        continue;
      // If killed here: the server sees that we are dead, and forgets the call.
      if (now.state() == CallState::parked) tell_of_withdrawal(*line_, HostedObject::of(hosted_));
      if (!is_late) SoftLimit::check();
      return false;
    }
    std::uint64_t before = now.bits();
    const LineWord awaited = now.with(LineWord::awaited);
    if (before != awaited.bits() && !line.word.compare_exchange_strong(before, awaited.bits())) {
      continue;
    }
    // The server answers what it has begun with, late or not; or it parks it in a moment.
    if (!futex_wait_slice(
            line.sleepers_word(), awaited.low(),
            is_late || is_softly_late ? Deadline::after(std::chrono::milliseconds(1)) : deadline)) {
      look_after_server();
    }
  }
}

void RemoteCall::look_after_server() {
  if (!is_gone(line_->server)) return;
  // Its last answer may have come meanwhile.
  if (line_->line->now().state() == CallState::answered) return;
  const std::shared_ptr<ServerLink> link = line_->link;
  drop(*std::exchange(line_, nullptr));
  complain_server_died(link->state());
}

void RemoteCall::read_answer(std::span<const std::byte> arguments) {
  const CallLine& line = *line_->line;
  const LineWord now = line.now();
  result_ = answer_in(line);
  if (now.has(LineWord::cargo)) claim_cargo(*line.cargo, cargo_);
  if (!now.has(LineWord::exception)) return;
  const std::exception_ptr exception = take_exception(result_, cargo_);
  std::rethrow_exception(now.has(LineWord::refused) ? name_refused(exception, function_, arguments)
                                                    : exception);
}

bool RemoteCall::make_here(HostedCode code, std::span<const std::byte> arguments,
                           const OutgoingCargo& outgoing, bool only_looks) {
  IncomingCargo incoming;
  incoming.handles.assign(outgoing.handles.begin(), outgoing.handles.end());
  for (const int descriptor : outgoing.descriptors) {
    incoming.descriptors.push_back(duplicate(descriptor));
  }
  return Server::call_here(HostedObject::of(hosted_), code, arguments, incoming, only_looks,
                           [&](std::span<const std::byte> bytes, const OutgoingCargo& cargo) {
                             own_result_ = std::make_unique<std::byte[]>(bytes.size());
                             if (!bytes.empty()) {
                               std::memcpy(own_result_.get(), bytes.data(), bytes.size());
                             }
                             result_ = {own_result_.get(), bytes.size()};
                             cargo_.handles.assign(cargo.handles.begin(), cargo.handles.end());
                             for (const int descriptor : cargo.descriptors) {
                               cargo_.descriptors.push_back(duplicate(descriptor));
                             }
                           });
}

bool have_same_server(const Object& left, const Object& right) noexcept {
  return static_cast<const HostedObject&>(left).server ==
         static_cast<const HostedObject&>(right).server;
}

bool is_same_hosted(const Object& left, const Object& right) noexcept {
  const auto& one = static_cast<const HostedObject&>(left);
  const auto& other = static_cast<const HostedObject&>(right);
  return &one == &other ||
         (one.server == other.server && one.outside != 0 && one.outside == other.outside);
}

void require_hosted_type(const Object& object, const std::type_info& type) {
  if (static_cast<const HostedObject&>(object).type == type_number(type)) return;
  throw SerializationError("the message holds a proxy of an object of another type");
}

}  // namespace kin::detail
