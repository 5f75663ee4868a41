// SPDX-License-Identifier: BSL-1.0
//
// Calls in the server's hands: answered, parked, or failed.

#include "manager/line_call.hpp"

#include "base/fork_depth.hpp"
#include "wire/exception.hpp"

#include <kin/error.hpp>

#include <stdexcept>
#include <string>

namespace kin::detail {

bool begin_call(CallLine& line, std::uint32_t sequence, CallState from) {
  while (true) {
    const LineWord now = line.now();
    if (now.sequence() != sequence || now.state() != from) return false;
    std::uint64_t before = now.bits();
    // The client may withdraw it, or say that it sleeps.
    if (line.word.compare_exchange_strong(before, now.with(CallState::running).bits())) return true;
  }
}

void park_call(CallLine& line, std::uint32_t sequence) {
  while (true) {
    const LineWord now = line.now();
    if (now.sequence() != sequence) return;
    std::uint64_t before = now.bits();
    if (line.word.compare_exchange_strong(before, now.with(CallState::parked).bits())) return;
  }
}

void LineCall::give(std::span<const std::byte> bytes, const OutgoingCargo& cargo) {
  answer(server_.state_, line_, head_.sequence, bytes, cargo, 0);
  is_settled_ = true;
}

void LineCall::park(Attempt attempt, Withdrawal withdrawn) {
  if ((head_.flags & RequestHead::only_looks) != 0) {
    withdrawn();
    answer(server_.state_, line_, head_.sequence, {}, {}, LineWord::not_now);
    is_settled_ = true;
    return;
  }
  entry_.parked.push_back({.line = head_.line,
                           .sequence = head_.sequence,
                           .code = head_.code,
                           .attempt = std::move(attempt),
                           .withdrawn = std::move(withdrawn)});
  is_settled_ = true;
  ++server_.parked_;
  park_call(line_, head_.sequence);
}

void LineCall::go_on_at(Object& hosted, Attempt attempt, Withdrawal withdrawn) {
  Server::Entry& there = server_.entry_of(HostedObject::of(hosted));
  there.parked.push_back({.line = head_.line,
                          .sequence = head_.sequence,
                          .code = head_.code,
                          .attempt = std::move(attempt),
                          .withdrawn = std::move(withdrawn),
                          .has_begun = true});
  is_settled_ = true;
  ++server_.parked_;
  server_.retry(there);
}

void LineCall::take_back_by(HostedCode code) {
  Server::Book& book = server_.book_of(head_.line);
  book.take_back = code;
  book.sequence = head_.sequence;
  book.index = head_.index;
  book.generation = head_.generation;
}

void LineCall::fail(std::exception_ptr exception) noexcept {
  is_settled_ = true;
  give_exception(std::move(exception), gives() ? "the call's result" : nullptr,
                 [&](std::span<const std::byte> bytes, const OutgoingCargo& cargo) {
                   answer(server_.state_, line_, head_.sequence, bytes, cargo, LineWord::exception);
                 });
}

// ---- calls from inside

namespace {

class LocalCall final : public HostedCall {
 public:
  LocalCall(void* object, std::span<const std::byte> arguments, IncomingCargo& cargo,
            bool only_looks, Server::Give give)
      : HostedCall(object, arguments, cargo), only_looks_(only_looks), give_(give) {}

  [[nodiscard]] std::uint64_t client() override { return this_process(); }
  void give(std::span<const std::byte> bytes, const OutgoingCargo& cargo) override {
    give_(bytes, cargo);
    is_answered_ = true;
  }
  void park(Attempt /*attempt*/, Withdrawal withdrawn) override {
    withdrawn();
    if (only_looks_) return;
    throw std::logic_error(
        "kin: a call from inside of the manager's server would have to wait, and so would the "
        "server");
  }
  void take_back_by(HostedCode /*code*/) override {}
  [[nodiscard]] bool is_answered() const noexcept { return is_answered_; }

 private:
  bool only_looks_;
  bool is_answered_ = false;
  Server::Give give_;
};

// The server whose thread this is, and in which process.
[[gnu::tls_model("initial-exec")]] thread_local Server* current = nullptr;
[[gnu::tls_model("initial-exec")]] thread_local int current_depth = 0;

}  // namespace

void Server::enter() noexcept {
  current = this;
  current_depth = fork_depth;
}
void Server::leave() noexcept { current = nullptr; }

bool Server::serves(const HostedObject& hosted) noexcept {
  return current != nullptr && current_depth == fork_depth && current->stamp_ == hosted.server;
}

Server& Server::here() {
  if (current == nullptr || current_depth != fork_depth) {
    throw std::logic_error("kin: only calls in a manager's server may do that");
  }
  return *current;
}

bool Server::call_here(const HostedObject& hosted, HostedCode code,
                       std::span<const std::byte> arguments, IncomingCargo& cargo, bool only_looks,
                       Give give) {
  Server& server = here();
  Entry& entry = server.entry_of(hosted);
  LocalCall call(entry.object->address(), arguments, cargo, only_looks, give);
  ++entry.calls;
  try {
    code(call);
  } catch (...) {
    --entry.calls;
    server.retry(entry);
    throw;
  }
  --entry.calls;
  server.retry(entry);
  return call.is_answered();
}

Server::Entry& Server::entry_of(const HostedObject& hosted) {
  if (hosted.server != stamp_) {
    throw std::logic_error("kin: a condition and its lock have to be the same manager's");
  }
  if (Entry* const entry = find(hosted.index, hosted.generation)) return *entry;
  throw std::logic_error("kin: the manager holds no such object any more");
}

void HostedCall::go_on_at(Object& /*hosted*/, Attempt /*attempt*/, Withdrawal /*withdrawn*/) {
  throw std::logic_error("kin: a call that would have to wait, where none can");
}

void HostedCall::check_code(const void* code, const std::type_info& function) const {
  Server::here().check_code(code, function);
}

Handle HostRoot::host(std::unique_ptr<Hosted> object, const std::type_info& type) {
  return Server::here().host(std::move(object), type);
}
ManagerStatistics HostRoot::statistics() { return Server::here().statistics(); }

}  // namespace kin::detail
