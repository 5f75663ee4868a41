// SPDX-License-Identifier: BSL-1.0
//
// The byte-level side of the queue templates: from handles to channels, and the buffers of each thread.

#include "channel/byte_channel.hpp"
#include "os/fork.hpp"

#include <kin/detail/channel.hpp>
#include <kin/error.hpp>

#include <cstring>
#include <stdexcept>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

// A queue has no ends, and its messages come in one piece.
class QueueLine final : public Line {
 public:
  void ring() noexcept override {}
  void silence() noexcept override {}
  bool wait_for_piece(ByteChannel& /*channel*/) override { return false; }
};

ByteChannel& channel_of(const Handle& handle) {
  // Throws where this process is refused: its thread ids may be others', and locks with them.
  if (this_process_or_none() == 0) this_process();
  return static_cast<ByteChannel&>(handle.object());
}

Handle new_channel(std::ptrdiff_t max_size, Channel::Kind kind) {
  if (max_size < 0) throw std::invalid_argument("kin: a queue's max_size can't be negative");
  if (static_cast<std::size_t>(max_size) > Cursor::count_mask / 4) max_size = 0;  // never reached
  return Handle(make_channel({.most_items = static_cast<std::uint32_t>(max_size),
                              .joinable = kind == Channel::Kind::joinable}));
}

}  // namespace

Channel::Channel(std::ptrdiff_t max_size, Kind kind) : handle_(new_channel(max_size, kind)) {}

bool Channel::put(std::span<const std::byte> bytes, const OutgoingCargo& cargo,
                  Deadline deadline) const {
  QueueLine line;
  return detail::put(channel_of(handle_), bytes, cargo, line, deadline);
}

bool Channel::get_plain(void* to, std::size_t size, Deadline deadline) const {
  std::size_t found = size;
  const auto fill = [&](const Part& part) {
    found = part.total;
    if (found == size) std::memcpy(to, part.bytes.data(), size);
  };
  QueueLine line;
  if (!detail::get(channel_of(handle_), fill, nullptr, line, deadline)) return false;
  if (found != size) throw SerializationError("a message of another size than its type has");
  return true;
}

bool Channel::get(std::vector<std::byte>& bytes, IncomingCargo& cargo, Deadline deadline) const {
  const auto fill = [&](const Part& part) { bytes.assign(part.bytes.begin(), part.bytes.end()); };
  cargo.clear();
  QueueLine line;
  return detail::get(channel_of(handle_), fill, &cargo, line, deadline);
}

std::size_t Channel::size() const { return size_of(channel_of(handle_)); }

bool Channel::full() const {
  const ByteChannel& channel = channel_of(handle_);
  return channel.most_items != 0 && size_of(channel) >= channel.most_items;
}

bool Channel::is_shut_down() const { return detail::is_shut_down(channel_of(handle_)); }
void Channel::shutdown() const {
  QueueLine line;
  shut_down(channel_of(handle_), line);
}
void Channel::task_done() const { detail::task_done(channel_of(handle_)); }
bool Channel::join(Deadline deadline) const { return detail::join(channel_of(handle_), deadline); }

void Channel::travel(InArchive& archive) {
  Handle handle = archive.next_handle();
  if (handle.object_even_closed().kind != ObjectKind::channel) {
    throw SerializationError("the message holds another object where a queue was expected");
  }
  handle_ = std::move(handle);
}

namespace {

thread_local std::unique_ptr<BorrowedBuffers::Buffers> kept_buffers;

// A message that was larger than this costs its memory anew each time.
constexpr std::size_t most_kept = std::size_t{4} << 20;

}  // namespace

BorrowedBuffers::BorrowedBuffers() : buffers_(std::move(kept_buffers)) {
  if (!buffers_) buffers_ = std::make_unique<Buffers>();
}

BorrowedBuffers::~BorrowedBuffers() {
  if (buffers_->bytes.capacity() > most_kept || buffers_->out.size() > most_kept) return;
  buffers_->out.clear();
  buffers_->cargo.clear();
  kept_buffers = std::move(buffers_);
}

}  // namespace kin::detail
