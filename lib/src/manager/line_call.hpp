// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "manager/server.hpp"

#include <exception>

namespace kin::detail {

/// A call that came by a line, while the server has it.
class LineCall final : public HostedCall {
 public:
  LineCall(Server& server, Server::Entry& entry, const RequestHead& head,
           std::span<const std::byte> arguments, IncomingCargo& cargo)
      : HostedCall(entry.object->address(), arguments, cargo,
                   server.state_.line(head.line).outsider.load() != 0),
        server_(server),
        entry_(entry),
        head_(head),
        line_(server.state_.line(head.line)) {}

  [[nodiscard]] std::uint64_t client() override { return server_.client_of(line_); }
  void give(std::span<const std::byte> bytes, const OutgoingCargo& cargo) override;
  void park(Attempt attempt, Withdrawal withdrawn) override;
  void go_on_at(Object& hosted, Attempt attempt, Withdrawal withdrawn) override;
  void take_back_by(HostedCode code) override;
  /// Instead of a result.
  void fail(std::exception_ptr exception) noexcept;

  [[nodiscard]] bool is_settled() const noexcept { return is_settled_; }

 private:
  Server& server_;
  Server::Entry& entry_;
  const RequestHead& head_;
  CallLine& line_;
  bool is_settled_ = false;  // answered or parked
};

/// Takes a call from its line, unless it was withdrawn; and puts it back, parked.
bool begin_call(CallLine& line, std::uint32_t sequence, CallState from);
void park_call(CallLine& line, std::uint32_t sequence);

}  // namespace kin::detail
