// SPDX-License-Identifier: BSL-1.0
//
// How two relatives that met over a socket leave it for a pipe. The client makes a channel that nobody else
// knows, and says where it is; the listener takes a claim on it if the client has one, and puts the end of
// a new pipe into it as into any queue. So whoever is killed, the sweep finds what was on its way.

#include "listener/meeting.hpp"

#include "base/log_text.hpp"
#include "channel/byte_channel.hpp"
#include "memory/arena.hpp"
#include "os/fork.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

}  // namespace

MeetingPlace::MeetingPlace() noexcept {
  try {
    channel_ = Handle(make_channel({}));
  } catch (const std::exception& error) {
    log_text(LogLevel::debug,
             [&] { return std::string("this client can meet no relatives: ") + error.what(); });
  }
}

Meeting MeetingPlace::where() const noexcept {
  if (!channel_) return {};
  return {.holder = this_process_or_none(),
          .address = reinterpret_cast<std::uintptr_t>(&channel_.object_even_closed())};
}

End MeetingPlace::take() const {
  NoLine line;
  std::vector<std::byte> bytes;
  IncomingCargo cargo;
  const auto fill = [&](const Part& part) { bytes.assign(part.bytes.begin(), part.bytes.end()); };
  if (!channel_ || !get(static_cast<ByteChannel&>(channel_.object_even_closed()), fill, &cargo,
                        line, Deadline::passed())) {
    throw Error("the listener left no pipe where it said");
  }
  InArchive in(bytes, cargo);
  End end;
  end.travel(in);
  in.finish();
  return end;
}

std::optional<End> leave_pipe_at(const Meeting& meeting) {
  try {
    const Handle channel(claim_of(meeting.holder, meeting.address));
    if (!channel || channel.object_even_closed().kind != ObjectKind::channel) return std::nullopt;
    auto [ours, theirs] = End::make_pair(End::reads | End::writes);
    OutArchive out;
    theirs.travel(out);
    NoLine line;
    // If killed before it is put: the client sees the end of the socket. Behind it: that of the pipe.
    if (!put(static_cast<ByteChannel&>(channel.object_even_closed()), out.bytes(), out.cargo(),
             line, Deadline::passed())) {
      return std::nullopt;
    }
    return ours;
  } catch (const std::exception& error) {
    log_text(LogLevel::debug,
             [&] { return std::string("relatives stay on their socket: ") + error.what(); });
    return std::nullopt;
  }
}

Mac family_secret() {
  Mac secret{};
  std::ranges::copy(arena().secret, secret.begin());
  return secret;
}

}  // namespace kin::detail
